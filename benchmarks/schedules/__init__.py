"""What schedules cost: our tick and beat, with thousands of them."""
