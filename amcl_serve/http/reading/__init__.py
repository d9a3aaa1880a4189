"""What reads requests: their bodies, the images in them, their headers."""
