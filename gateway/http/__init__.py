"""What every HTTP request passes, whatever its API: middleware, errors, validation, CORS."""
