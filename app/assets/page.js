// What all tabs share: tips of numbers, paste into the tab that is open, a plain picture for files that cannot be drawn.
(() => {
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
      if (target instanceof HTMLImageElement && target.closest(".picture") && target.src !== NO_PREVIEW) {
        target.src = NO_PREVIEW;
      }
    },
    true,
  );

  // One tip for the page, beside whatever explains itself by data-tip and is pointed at or has the focus.
  let tip = null;
  const hide = () => tip && (tip.hidden = true);
  const show = (target) => {
    if (!tip) {
      tip = document.createElement("div");
      tip.id = "tip";
      tip.setAttribute("role", "tooltip");
      (document.querySelector(".gradio-container") ?? document.body).append(tip);
    }
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    target.setAttribute("aria-describedby", "tip");
    const at = target.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, innerWidth - tip.offsetWidth - 8));
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  };
  for (const [name, act] of [["pointerover", show], ["focusin", show]]) {
    document.addEventListener(name, ({ target }) => {
      const term = target instanceof Element ? target.closest("[data-tip]") : null;
      term ? act(term) : hide();
    });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", ({ key }) => key === "Escape" && hide());

  // A pasted picture goes into the first empty box of the tab that is open, or into its last one.
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file || event.target.closest?.("input[type=text], textarea")) return;
    const boxes = [...document.querySelectorAll(".picture")].filter((box) => box.offsetParent);
    const box = boxes.find((each) => each.querySelector("input[type=file]") && !each.querySelector("img")) ?? boxes.at(-1);
    const put = () => {
      const input = box?.querySelector("input[type=file]");
      if (!input) return false;
      const files = new DataTransfer();
      files.items.add(file);
      input.files = files.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
      return true;
    };
    event.preventDefault();
    event.stopPropagation();
    if (!put() && box) {
      box.querySelector('button[aria-label="Remove Image"]')?.click();
      setTimeout(put, 300); // the box makes its input anew
    }
  }, true);
})();
