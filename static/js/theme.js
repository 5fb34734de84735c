// Runs before the first paint, so that a page never flashes in the other theme. The choice is light, dark or system.
(() => {
  const wish = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => { try { return localStorage.getItem("theme") || "system"; } catch { return "system"; } };
  const apply = () => {
    const choice = chosen();
    document.documentElement.dataset.theme = choice === "system" ? (wish.matches ? "dark" : "light") : choice;
    document.dispatchEvent(new CustomEvent("themechange"));
  };
  wish.addEventListener("change", apply);
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-themes] input")) return;
    try { localStorage.setItem("theme", event.target.value); } catch { /* private mode: the choice lasts for this page */
      document.documentElement.dataset.theme = event.target.value; }
    apply();
  });
  document.addEventListener("DOMContentLoaded", () => {
    const box = document.querySelector("[data-themes]");
    if (!box) return;
    box.hidden = false;
    box.querySelector(`[value="${chosen()}"]`).checked = true;
  });
  apply();
})();
