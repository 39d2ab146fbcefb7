"""What is published: keys, sessions, how streams are, recordings, and where they go besides."""
