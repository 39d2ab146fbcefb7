"""Keeps one ffmpeg per live stream: what runs follows what the orchestrator says is live."""
