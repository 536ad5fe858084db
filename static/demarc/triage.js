// Triage by keyboard: [data-key] is followed or its part of the page opened, Enter takes the step marked [data-enter].
"use strict";

function opened(link) {
    const target = link.hash && link.pathname === window.location.pathname && document.querySelector(link.hash);
    if (!target) return false;
    target.open = true;
    target.scrollIntoView({ block: "nearest" });
    target.querySelector("textarea, input:not([type=hidden])").focus();
    return true;
}

document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-key][href^='#']");
    if (link && opened(link)) event.preventDefault();
});
document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.repeat) return;
    if (event.key === "Escape" && document.activeElement) return document.activeElement.blur();
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const enter = event.key === "Enter" && !event.target.closest("a, button, summary");
    const link = document.querySelector(enter ? "[data-enter]" : `[data-key="${CSS.escape(event.key)}"]`);
    if (!link) return;
    event.preventDefault();
    link.click();
});
document.addEventListener("DOMContentLoaded", () => {
    const asked = /^#(keep|fix)$/.test(window.location.hash) && document.querySelector(window.location.hash);
    if (asked && "open" in asked) opened({ hash: window.location.hash, pathname: window.location.pathname });
});
