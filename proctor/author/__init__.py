"""What an instructor runs before students get anything: export and release."""
