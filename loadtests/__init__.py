"""Load on a service: what is asked, measuring, simulating capacity, and tuning."""
