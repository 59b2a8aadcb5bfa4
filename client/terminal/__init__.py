"""What the commands show: tables, JSON, progress, answers and failures."""
