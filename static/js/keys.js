// The keyboard: a palette, a list of keys, and single letters that can be switched off and never fire while typing.
const OFF = "keys-off";
const $ = (selector) => document.querySelector(selector);
const links = () => [...document.querySelectorAll(".nav__link")];
const stored = () => { try { return localStorage.getItem(OFF) === "yes"; } catch { return false; } };
const typing = (target) => target.closest?.("input, select, textarea, [contenteditable], dialog");
let waitingForPage = 0;

function toTables() {
  const all = [...document.querySelectorAll("[data-as-table]")];
  const open = all.some((one) => !one.open);
  for (const one of all) one.open = open;
}

function period(side) {
  const url = $("[data-scope]")?.dataset[side];
  if (url) location.assign(url);
}

function addFilter() {
  const menu = $("[data-filter-menu]");
  if (!menu) return;
  menu.open = true;
  menu.querySelector("select").focus();
}

const exportNow = () => $("[data-export]")?.click();
const LETTERS = {
  "/": addFilter, "[": () => period("previous"), "]": () => period("next"), t: toTables, e: exportNow, "?": () => $("#help").showModal(),
};

function commands() {
  const pages = links().map((link) => ({ words: link.title, kind: `g ${link.dataset.letter}`, run: () => link.click() }));
  const does = [
    { words: "Show charts as tables", kind: "t", run: toTables, when: $("[data-as-table]") },
    { words: "Export as CSV", kind: "e", run: exportNow, when: $("[data-export]") },
    { words: "Add a filter", kind: "/", run: addFilter, when: $("[data-filter-menu]") },
    { words: "Copy link to this view", kind: "", run: () => $("[data-copy]").click(), when: $("[data-copy]:not([hidden])") },
    { words: "Keyboard", kind: "?", run: () => $("#help").showModal(), when: true },
  ];
  return [...pages, ...does.filter((one) => one.when)];
}

let shown = [];
let at = 0;

function draw() {
  const wanted = $("#palette-input").value.trim().toLowerCase();
  shown = commands().filter((one) => one.words.toLowerCase().includes(wanted));
  at = Math.min(at, Math.max(shown.length - 1, 0));
  $("#palette-list").replaceChildren(...shown.map((one, index) => {
    const item = document.createElement("li");
    item.className = "palette__item";
    item.id = `palette-${index}`;
    item.role = "option";
    item.setAttribute("aria-selected", String(index === at));
    const kind = document.createElement("span");
    kind.className = "palette__kind";
    kind.textContent = one.kind;
    item.append(one.words, kind);
    item.addEventListener("click", () => choose(index));
    return item;
  }));
  $("#palette-input").setAttribute("aria-activedescendant", shown.length ? `palette-${at}` : "");
}

function choose(index) {
  $("#palette").close();
  shown[index]?.run();
}

function openPalette() {
  at = 0;
  $("#palette-input").value = "";
  draw();
  $("#palette").showModal();
}

$("#palette-input").addEventListener("input", () => { at = 0; draw(); });
$("#palette-input").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) { event.preventDefault(); at = (at + step + shown.length) % Math.max(shown.length, 1); draw(); }
  if (event.key === "Enter") { event.preventDefault(); choose(at); }
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) openPalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || stored()) return;
  if (Date.now() - waitingForPage < 1500) {
    waitingForPage = 0;
    const link = links().find((one) => one.dataset.letter === event.key);
    if (link) { event.preventDefault(); link.click(); return; }
  }
  if (event.key === "g") { waitingForPage = Date.now(); return; }
  const run = LETTERS[event.key];
  if (run) { event.preventDefault(); run(); }
});

for (const button of document.querySelectorAll("[data-open]")) {
  button.hidden = false;
  button.addEventListener("click", () => document.getElementById(button.dataset.open).showModal());
}
$("#keys-off").checked = stored();
$("#keys-off").addEventListener("change", (event) => {
  try { localStorage.setItem(OFF, event.target.checked ? "yes" : "no"); } catch { /* private mode: nothing is kept */ }
});
