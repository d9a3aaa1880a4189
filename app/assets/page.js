// A file that the browser cannot draw (text, TIFF) gets a plain picture in its box instead of the broken-image sign.
const NO_PREVIEW =
  "data:image/svg+xml," +
  encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" width="240" height="180"><text x="120" y="96" text-anchor="middle" ' +
      'font-family="system-ui, sans-serif" font-size="15" fill="#7b8899">No preview of this file</text></svg>',
  );

document.addEventListener(
  "error",
  ({ target }) => {
    if (target instanceof HTMLImageElement && target.closest("#first, #second") && target.src !== NO_PREVIEW) {
      target.src = NO_PREVIEW;
    }
  },
  true,
);
