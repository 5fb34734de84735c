// Rules dragged to another place by their handle. Without this file, and for the keyboard, the arrows beside each rule do the same.
let dragged = null;
let before = "";

const orderOf = (list) => [...list.querySelectorAll("[data-rule]")].map((row) => row.dataset.rule).join(" ");

document.addEventListener("dragstart", (event) => {
  const handle = event.target.closest?.("[data-rule-handle]");
  if (!handle) return;
  dragged = handle.closest("[data-rule]");
  before = orderOf(dragged.closest("[data-rule-rows]"));
  dragged.classList.add("rule-list__row--dragged");
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged.dataset.rule);
  event.dataTransfer.setDragImage(dragged, 0, 0);
});

document.addEventListener("dragover", (event) => {
  const row = dragged && event.target.closest?.("[data-rule]");
  if (!row || row.parentElement !== dragged.parentElement) return;
  event.preventDefault();
  const box = row.getBoundingClientRect();
  if (row === dragged) return;
  if (event.clientY < box.top + box.height / 2) row.before(dragged);
  else row.after(dragged);
});

document.addEventListener("drop", (event) => {
  if (dragged) event.preventDefault();
});

document.addEventListener("dragend", () => {
  if (!dragged) return;
  const list = dragged.closest("[data-rule-rows]");
  dragged.classList.remove("rule-list__row--dragged");
  dragged = null;
  // Sent without a button: the hidden inputs of the rows say the order.
  if (orderOf(list) !== before) list.closest("form").requestSubmit();
});
