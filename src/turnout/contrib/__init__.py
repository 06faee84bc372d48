"""What ties Turnout to other people's tools, one module each, none imported unasked."""
