"use strict";
// Sorts a table by the column of the heading that is clicked: up, then down.
for (const heading of document.querySelectorAll(".sortable thead th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const table = heading.closest("table");
    const order = heading.ariaSort === "ascending" ? "descending" : "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const key = (row) => row.cells[heading.cellIndex].dataset.order ?? row.cells[heading.cellIndex].textContent;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    const number = rows.every(([value]) => value.trim() && !Number.isNaN(Number(value)));
    rows.sort(([a], [b]) => (number ? a - b : compare(a, b)) * (order === "ascending" ? 1 : -1));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
}
