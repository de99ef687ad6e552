// What scrolls can be reached by keyboard, and the headings of the contents say their level.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("pre, .table-wrapper").forEach((part) => (part.tabIndex = 0));
  document.querySelectorAll(".caption[role=heading]").forEach((part) => part.setAttribute("aria-level", "2"));
});
