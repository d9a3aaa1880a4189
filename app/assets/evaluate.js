// Evaluations by the API's /evaluations: begun, watched by polling, cancelled, and their reports in a frame that may do nothing.
const url = (path) => new URL(path, new URL("./", document.baseURI)).href;
const EVERY = 1000; // milliseconds between two questions
const WORDS = {
  queued: "waits for its turn",
  running: "running",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
  interrupted: "interrupted by a restart of the server",
};

async function ask(path, options = {}) {
  const response = await fetch(url(path), options);
  const said = await response.json().catch(() => null);
  if (response.status === 403) throw new Error("this server has keys, and with them the page only reads; use the API or amcl-serve evaluate");
  if (!response.ok) throw new Error(said?.detail ?? `the server answers ${response.status}`);
  return said;
}

export function start(element) {
  const root = element.querySelector(".evaluate");
  const part = Object.fromEntries([...root.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
  const form = root.querySelector("form");
  let watched = null, timer = 0;

  const say = (text, bad = false) => {
    part.said.textContent = text;
    part.said.className = bad ? "note note-bad" : "note";
    part.said.setAttribute("role", bad ? "alert" : "status");
  };
  const failed = (error) => say(error.message, true);

  async function fill() {
    const [{ result }, { data }] = await Promise.all([ask("collections"), ask("models")]);
    const names = result.collections.map((each) => each.name);
    const put = (select, options) => {
      const before = select.value;
      select.replaceChildren(...options);
      if (options.some((each) => each.value === before)) select.value = before;
    };
    put(form.elements.collection, names.map((name) => new Option(name)));
    put(form.elements.model, data.map(({ name }) => new Option(name)));
    put(form.elements.against, [new Option("none", ""), ...data.map(({ name }) => new Option(name))]);
    form.querySelector("button").disabled = !names.length;
    if (!names.length) say("No collection yet: make the example collection in Search, or index a folder.");
    await list();
  }

  async function list() {
    const { data } = await ask("evaluations");
    part.jobs.replaceChildren(...data.slice(0, 20).map(line));
    if (!data.length) part.jobs.innerHTML = "<li>None yet. They stay here, with their reports, when the server starts again.</li>";
    const open = data.find(({ status }) => status === "queued" || status === "running");
    if (open && !watched) watch(open.id);
  }

  function line(job) {
    const item = document.createElement("li");
    const words = document.createElement("span");
    const versus = job.against ? ` against ${job.against}` : "";
    words.textContent = `${job.dataset} · ${job.model}${versus} · ${job.images.toLocaleString()} images · ${WORDS[job.status]}`;
    if (job.error) words.textContent += `: ${job.error.detail}`;
    item.append(words);
    if (job.status === "done") {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "press";
      button.textContent = "Report";
      button.setAttribute("aria-label", `Report of ${job.dataset} by ${job.model}`);
      button.addEventListener("click", () => show(job.id));
      const link = document.createElement("a");
      link.href = url(`evaluations/${job.id}/report`);
      link.target = "_blank";
      link.rel = "noopener";
      link.textContent = "by itself";
      item.append(button, link);
    }
    return item;
  }

  function show(id) {
    part.report.src = url(`evaluations/${id}/report`);
    part.report.hidden = false;
    part.report.scrollIntoView({ block: "start" });
  }

  function watch(id) {
    watched = id;
    clearTimeout(timer);
    look();
  }

  async function look() {
    try {
      const job = await ask(`evaluations/${watched}`);
      const { stage, done, total } = job.progress;
      part.run.hidden = false;
      part.title.textContent = `${job.dataset}: ${WORDS[job.status]}`;
      part.stage.textContent = total ? `${stage}, ${done.toLocaleString()} of ${total.toLocaleString()}` : stage;
      if (total) Object.assign(part.bar, { max: total, value: done });
      else part.bar.removeAttribute("value");
      if (job.status === "queued" || job.status === "running") {
        timer = setTimeout(look, EVERY);
        return;
      }
      part.run.hidden = true;
      watched = null;
      if (job.status === "done") {
        say(`${job.dataset} is evaluated.`);
        show(job.id);
      } else say(`${job.dataset}: ${WORDS[job.status]}${job.error ? `: ${job.error.detail}` : ""}`, job.status === "failed");
      await list();
    } catch (error) {
      watched = null;
      part.run.hidden = true;
      failed(error);
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const asked = Object.fromEntries([...new FormData(form)].filter(([, value]) => value.trim()));
    try {
      const job = await ask("evaluations", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(asked),
      });
      say(`${job.dataset} is being evaluated. You may leave; it goes on.`);
      part.report.hidden = true;
      watch(job.id);
    } catch (error) {
      failed(error);
    }
  });
  part.cancel.addEventListener("click", () => watched && ask(`evaluations/${watched}`, { method: "DELETE" }).catch(failed));
  new IntersectionObserver((entries) => entries.some((each) => each.isIntersecting) && fill().catch(failed)).observe(root);
}
