"""What runs on a host of ours outside its containers: Python's standard library, and programs of the host."""
