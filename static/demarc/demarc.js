// Help for the pages in the browser: the menu by keyboard, progress, and a warning before typed text is lost.
"use strict";

// The admin's menu buttons are elements with a click handler only: let the keyboard reach them too.
function reachable(root) {
    root.querySelectorAll("[x-on\\:click]").forEach((element) => {
        if (element.matches("a[href], button, input, select, textarea, [tabindex]")) return;
        if (element.querySelector("a, button, input")) return;
        element.tabIndex = 0;
        element.setAttribute("role", "button");
        const symbol = element.textContent.trim();
        if (/^(dock_to_right\s*)+$/.test(symbol)) element.setAttribute("aria-label", "Menu");
        if (symbol === "close") element.setAttribute("aria-label", "Close the menu");
        element.addEventListener("keydown", (event) => {
            if (event.key === "Enter" || event.key === " ") {
                event.preventDefault();
                element.click();
            }
        });
    });
}

// Icons are words in a font of pictures: nobody wants "rule Rules" read aloud.
function unspoken(root) {
    root.querySelectorAll(".material-symbols-outlined").forEach((icon) => {
        const around = icon.closest("a, button, h1, h2, label");
        if (around && around.textContent.trim() !== icon.textContent.trim()) icon.setAttribute("aria-hidden", "true");
    });
}

// Milliseconds without progress after which the page says so: before anything has begun, and later.
const UNBEGUN = 15000;
const STALLED = 180000;

// A double click sends a form once. Coming back to the page gives the buttons back.
function once(event) {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
    window.setTimeout(() => form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-disabled", "true")));
}
function again() {
    document.querySelectorAll("form[data-sent]").forEach((form) => {
        delete form.dataset.sent;
        form.querySelectorAll("button[aria-disabled]").forEach((button) => button.removeAttribute("aria-disabled"));
    });
}

// Text typed into the other forms of a page is there again after one of them was sent.
const KEPT = `kept:${window.location.pathname}`;
const typed = (field) =>
    field.id && !field.matches("[type=hidden], [type=file], [type=password]") &&
    (field.matches("[type=checkbox], [type=radio]") ? field.checked !== field.defaultChecked
        : field.matches("select") ? ![...field.options].every((one) => one.selected === one.defaultSelected)
        : field.value !== field.defaultValue);
function keep(event) {
    const others = [...document.querySelectorAll(".dm form")].filter((form) => form !== event.target);
    // What one button of a form takes, and another was pressed: <textarea data-kept="value of its button">
    const own = [...event.target.elements].filter((field) => field.dataset.kept && field.dataset.kept !== event.submitter?.value);
    const fields = others.flatMap((form) => [...form.elements]).concat(own).filter((field) => field.matches("input, select, textarea") && typed(field));
    const kept = Object.fromEntries(fields.map((field) => [field.id, field.matches("[type=checkbox], [type=radio]") ? field.checked : field.value]));
    if (fields.length) window.sessionStorage.setItem(KEPT, JSON.stringify(kept));
}
function giveBack() {
    if (window.location.pathname.endsWith("/login/")) window.sessionStorage.clear();
    const kept = JSON.parse(window.sessionStorage.getItem(KEPT) || "{}");
    Object.entries(kept).forEach(([id, value]) => {
        const field = document.getElementById(id);
        if (!field) return; // a part of the page that is still to come
        if (typeof value === "boolean") field.checked = value;
        else field.value = value;
        const folded = field.closest("details");
        if (folded) folded.open = true;
        delete kept[id];
    });
    if (Object.keys(kept).length) window.sessionStorage.setItem(KEPT, JSON.stringify(kept));
    else window.sessionStorage.removeItem(KEPT);
}

// <div data-progress="url">: asks every 1.5 seconds, fills in [data-value=...], reloads once the work has ended,
// shows [data-stalled] when nothing happens.
function follow(element) {
    const say = (key, value) =>
        element.querySelectorAll(`[data-value="${key}"]`).forEach((target) => (target.textContent = value));
    const bar = element.querySelector("progress");
    const stalled = element.querySelector("[data-stalled]");
    let last = "";
    let since = Date.now();
    const ask = async () => {
        try {
            const answer = await fetch(element.dataset.progress, { headers: { Accept: "application/json" } });
            if (!answer.ok) throw new Error(answer.status);
            const state = await answer.json();
            Object.entries(state).forEach(([key, value]) => say(key, value));
            if (bar && state.of) {
                bar.max = state.of;
                bar.value = state.done;
            }
            if (state.ended) return window.location.reload();
            if (last !== (last = JSON.stringify(state))) since = Date.now();
            if (stalled) stalled.hidden = Date.now() - since < (state.begun ? STALLED : UNBEGUN);
        } catch {
            say("step", "No answer from the server; trying again.");
        }
        window.setTimeout(ask, 1500);
    };
    window.setTimeout(ask, 800);
}

// <span data-later="url">: says what the address answers, one after the other, once the page is there.
async function later() {
    for (const element of document.querySelectorAll("[data-later]")) {
        try {
            const answer = await fetch(element.dataset.later);
            const said = answer.ok && !answer.redirected ? await answer.text() : "";
            if (!said) continue;
            if (element.matches("a")) element.replaceWith(said);
            else element.textContent = said;
        } catch {
            return; // the page is left, or the server is away: what stands there stays
        }
    }
}

// The admin writes a chosen file's name into the next text field, which on our pages is a field of its own.
document.addEventListener("change", (event) => event.target.matches(".dm input[type=file]") && event.stopPropagation(), true);

document.addEventListener("DOMContentLoaded", () => {
    reachable(document);
    unspoken(document);
    document.querySelectorAll("[data-progress]").forEach(follow);
    later();
    giveBack();
    document.addEventListener("htmx:afterSettle", giveBack);
    document.addEventListener("submit", keep);
    document.addEventListener("submit", once);
    window.addEventListener("pageshow", again);
    document.querySelectorAll("[data-submit-on-change]").forEach((element) =>
        element.addEventListener("change", () => element.form.requestSubmit())
    );
});
