"""What every HTTP request meets, whatever its API: middleware, errors, validation, CORS."""
