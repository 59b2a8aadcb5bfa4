"""Speech to text: Whisper's windows of 30 seconds, those of all requests in shared runs."""
