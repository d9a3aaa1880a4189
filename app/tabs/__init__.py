"""The page's tabs, a file each: `build` makes one's parts and events, and what they show is made in `app.show`."""
