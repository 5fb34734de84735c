// Small comforts of a page: menus that close, selects that submit, copied links, questions before a change, announcements.
const live = document.getElementById("live");
const toasts = document.getElementById("toasts");

export function announce(words) {
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = words; });
}

export function toast(words) {
  const one = document.createElement("p");
  one.className = "toasts__one";
  one.textContent = words;
  toasts.append(one);
  setTimeout(() => one.remove(), 4000);
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details[data-menu][open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(new URL(button.dataset.copy || location.href, location.href).href);
    toast("Link copied");
  });
}

// One listener for all, so that what htmx swaps in copies as well.
for (const button of document.querySelectorAll("[data-copy-text]")) button.hidden = !navigator.clipboard;
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-text]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copyText).textContent.trim());
  toast("Copied");
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.confirm || form.dataset.confirmed) return;
  event.preventDefault();
  const dialog = document.getElementById("confirm");
  dialog.querySelector("#confirm-text").textContent = form.dataset.confirm;
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.confirmed = "yes";
    form.requestSubmit(event.submitter);
  };
  dialog.showModal();
});

// What htmx swapped in says its title once, politely.
document.body.addEventListener("htmx:afterSettle", (event) => {
  const title = event.target.querySelector?.(".card__title");
  if (title) announce(`${title.textContent.trim()}, updated`);
});
