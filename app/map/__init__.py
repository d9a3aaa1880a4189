"""A collection as a map: its points on a plane, in clusters, with what their payloads say."""
