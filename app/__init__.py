"""The web page: two images in, how alike they are out. It runs in the server's own process, on the server's own port.

The page's library reads its switches when it is imported, so they are set here, before any module of this package
can import it: no analytics, no model hub, no telemetry, no update check.
"""

import os

os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
    }
)
