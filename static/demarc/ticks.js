// Many rows with a box each: tick all of them, none, or those of somebody beside what is ticked; says how many are.
"use strict";

document.querySelectorAll("[data-ticks]").forEach((section) => {
    const boxes = [...section.querySelectorAll("input[type=checkbox]")];
    const ticked = section.querySelector("[data-ticked]");
    const count = () => (ticked.textContent = boxes.filter((box) => box.checked).length);
    section.addEventListener("click", (event) => {
        const which = event.target.closest("[data-tick]")?.dataset.tick;
        if (!which) return;
        boxes.forEach((box) => (box.checked = which === "all"));
        count();
    });
    section.addEventListener("change", (event) => {
        if (event.target.matches("[data-tick-those]") && event.target.value) {
            const part = event.target.value;
            boxes.filter((box) => box.dataset.of.split(" ").includes(part)).forEach((box) => (box.checked = true));
            event.target.value = "";
        }
        count();
    });
    window.addEventListener("pageshow", count); // a browser gives ticks back
});
