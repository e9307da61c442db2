// Tells what the cell under the pointer is, and marks its row and column.
const told = document.getElementById("told");
const hint = told.textContent;
let marked = [];
document.addEventListener("mouseover", event => {
  marked.forEach(label => label.classList.remove("on"));
  marked = [];
  const cell = event.target.closest("rect.cell");
  if (!cell) { told.textContent = hint; return; }
  told.textContent = cell.querySelector("title").textContent;
  const map = cell.closest("svg");
  marked = [map.querySelector(`[data-row="${cell.dataset.r}"]`), map.querySelector(`[data-column="${cell.dataset.c}"]`)];
  marked.forEach(label => label.classList.add("on"));
});
