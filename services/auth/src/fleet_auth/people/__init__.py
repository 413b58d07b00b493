"""The users as others see them: administrators."""
