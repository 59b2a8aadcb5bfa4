"""The processes of a service, one by one: how each is started, watched and changed."""
