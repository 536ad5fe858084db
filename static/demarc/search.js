// The search of every page: Ctrl+K, Cmd+K or [data-search] open it; arrows choose, Enter opens.
"use strict";

const PAUSE = 120; // milliseconds between two letters of somebody who types on

document.addEventListener("DOMContentLoaded", () => {
    const dialog = document.getElementById("search");
    if (!dialog) return;
    const field = dialog.querySelector("input");
    const found = dialog.querySelector("[role=listbox]");
    const status = dialog.querySelector("[role=status]");
    let timer, asking, shown; // what is about to be asked, what is asked, and the text whose answer is shown
    let wanted = false; // Enter, before the answer to the last letter is there

    const options = () => [...found.querySelectorAll("a[role=option]")];
    const chosen = () => found.querySelector("[aria-selected=true]");

    function choose(option) {
        options().forEach((one) => one.setAttribute("aria-selected", String(one === option)));
        if (!option) return field.removeAttribute("aria-activedescendant");
        field.setAttribute("aria-activedescendant", option.id);
        option.scrollIntoView({ block: "nearest" });
    }

    async function ask() {
        const text = field.value.trim();
        asking?.abort();
        asking = new AbortController();
        try {
            const answer = await fetch(`${dialog.dataset.address}?s=${encodeURIComponent(text)}`, { signal: asking.signal });
            if (answer.redirected) return window.location.reload(); // logged out meanwhile
            if (!answer.ok) throw new Error(answer.status);
            found.innerHTML = await answer.text();
            shown = text;
            choose(options()[0]);
            const number = options().length;
            status.textContent = number ? `${number} found` : "Nothing found";
            if (wanted && number) chosen().click();
        } catch (error) {
            if (error.name === "AbortError") return;
            found.textContent = "";
            shown = undefined;
            status.textContent = "No answer from the server; type again.";
        }
        wanted = false;
    }

    function open() {
        if (dialog.open) return field.select();
        dialog.showModal();
        field.select();
        if (shown !== field.value.trim()) ask();
    }

    // Left to itself the browser empties the field first.
    function close(event) {
        event.preventDefault();
        dialog.close();
    }

    function move(event) {
        const all = options();
        const place = all.indexOf(chosen());
        const to = { ArrowDown: (place + 1) % all.length, ArrowUp: (place + all.length - 1) % all.length }[event.key];
        if (to === undefined || !all.length) return;
        event.preventDefault();
        choose(all[to]);
    }

    function enter(event) {
        event.preventDefault();
        if (shown !== field.value.trim()) wanted = true;
        else if (!chosen()) return;
        else if (event.ctrlKey || event.metaKey) window.open(chosen().href, "_blank");
        else chosen().click();
    }

    field.addEventListener("input", () => {
        window.clearTimeout(timer);
        timer = window.setTimeout(ask, PAUSE);
    });
    const keys = { Enter: enter, Escape: close };
    field.addEventListener("keydown", (event) => (keys[event.key] || move)(event));
    found.addEventListener("mousemove", (event) => {
        const option = event.target.closest("a[role=option]");
        if (option && option !== chosen()) choose(option);
    });
    dialog.querySelector(".dm-search-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    window.addEventListener("pageshow", (event) => event.persisted && dialog.close()); // come back to
    document.querySelectorAll("[data-search]").forEach((button) => button.addEventListener("click", open));
    document.addEventListener("keydown", (event) => {
        if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
        event.preventDefault();
        open();
    });
});
