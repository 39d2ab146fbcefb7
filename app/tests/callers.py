"""Addresses that stand for the other containers, and for somebody who has no business here."""

RTMP, MEDIA, PROXY, RELAY, STRANGER = "10.9.0.4", "10.9.0.5", "10.9.0.2", "10.9.0.7", "10.9.0.99"
