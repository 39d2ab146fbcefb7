"""Who signs in: accounts, logins, tokens, and what guessing costs."""
