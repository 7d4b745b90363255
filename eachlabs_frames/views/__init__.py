"""What people look at: an event or a frame in, a picture out. Never the network."""
