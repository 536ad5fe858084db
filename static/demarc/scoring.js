// The scoring table: rows come and go, every field knows its path in the document, errors stand at the field.
"use strict";
{
    const form = document.getElementById("scoring");
    const summary = document.getElementById("summary");
    let changed = false;
    let asked = 0;

    // Field names are paths into the document, by position: dimensions.0.criteria.2.cells.1
    function name(root, path) {
        root.querySelectorAll("[data-part]").forEach((field) => {
            if (field.closest("[data-row], [data-rule], [data-group]") === root) {
                field.name = field.dataset.path = `${path}.${field.dataset.part}`;
            }
        });
    }
    function number() {
        form.querySelectorAll("[data-group]").forEach((group, g) => {
            const path = `dimensions.${g}`;
            group.dataset.path = path;
            name(group, path);
            group.querySelector("[data-rows]").dataset.path = `${path}.criteria`;
            group.querySelectorAll("[data-row]").forEach((row, r) => {
                const key = row.querySelector("[data-part=key]");
                const fact = row.querySelector("[data-part=fact]");
                // A measure without a key takes its data field's; one whose field is taken away has neither.
                if (!fact.value) {
                    key.dataset.was ||= key.value;
                    key.value = "";
                } else {
                    if (key.dataset.was) key.value = key.dataset.was;
                    delete key.dataset.was;
                    if (!key.value || key.dataset.of) key.value = key.dataset.of = fact.value;
                }
                name(row, `${path}.criteria.${r}`);
            });
        });
        form.querySelectorAll("[data-rule]").forEach((rule, r) => name(rule, `rules.${r}`));
        form.dispatchEvent(new CustomEvent("demarc:numbered"));
    }

    // The field a problem is about, else the nearest thing around it.
    function place(path) {
        const weight = path.match(/^weights\.(.+)$/);
        if (weight) {
            const group = [...form.querySelectorAll("[data-group]")].find(
                (one) => one.querySelector("[data-part=key]").value.trim() === weight[1]
            );
            if (group) return group.querySelector("[data-share]");
        }
        if (path === "weights") return form.querySelector("[data-share]");
        for (let parts = path.split("."); parts.length; parts.pop()) {
            const found = form.querySelector(`[data-path="${CSS.escape(parts.join("."))}"]`);
            if (found?.type === "hidden") return found.closest("td, [data-rule]").querySelector("select");
            if (found) return found;
        }
        return null;
    }
    function show(problems) {
        form.querySelectorAll(".error[id^=problem-]").forEach((one) => one.remove());
        form.querySelectorAll("[aria-describedby^=problem-]").forEach((one) => {
            one.removeAttribute("aria-invalid");
            one.removeAttribute("aria-describedby");
        });
        problems.forEach((problem, index) => {
            const field = place(problem.path);
            const note = document.createElement("p");
            note.className = "error";
            note.id = `problem-${index}`;
            const unchosen = field?.matches("[data-part=fact]") && !field.value;
            note.textContent = unchosen ? "Choose a data field." : problem.message;
            if (field === null) return summary.append(note);
            if (field.matches("input, select")) {
                field.setAttribute("aria-invalid", "true");
                field.setAttribute("aria-describedby", note.id);
                field.insertAdjacentElement("afterend", note);
                field.closest("details:not(.step)")?.setAttribute("open", "");
            } else if (field.matches("tbody")) {
                field.closest(".scroll").insertAdjacentElement("afterend", note);
            } else {
                field.append(note);
                field.closest("details:not(.step)")?.setAttribute("open", "");
            }
        });
        const count = problems.length;
        summary.firstChild.textContent = count
            ? `${count} ${count === 1 ? "thing is" : "things are"} to be mended before these rules can be activated. `
            : "Nothing to mend. The checks say whether a warning still needs an answer.";
        summary.className = count ? "notice warn" : "notice ok";
    }

    async function check() {
        const mine = ++asked;
        try {
            const answer = await fetch(form.dataset.check, { method: "POST", body: new FormData(form) });
            const found = await answer.json();
            if (mine !== asked) return;
            form.dispatchEvent(new CustomEvent("demarc:checked", { detail: found }));
            show(found.problems);
        } catch {
            if (mine === asked) summary.firstChild.textContent = "Could not be checked: no answer from the server.";
        }
    }
    let waiting;
    function soon() {
        changed = true;
        window.clearTimeout(waiting);
        waiting = window.setTimeout(check, 350);
    }

    function add(kind, button) {
        const made = document.getElementById(`new-${kind}`).content.cloneNode(true);
        const element = made.querySelector(`[data-${kind}]`);
        if (kind === "row") button.closest("[data-group]").querySelector("[data-rows]").append(element);
        else document.getElementById(kind === "rule" ? "rules" : "groups").append(element);
        element.querySelector("select, input").focus();
    }
    form.addEventListener("click", (event) => {
        const button = event.target.closest("button[type=button]");
        if (!button) return;
        if (button.dataset.add) add(button.dataset.add, button);
        if (button.dataset.remove) button.closest(button.dataset.remove).remove();
        if (button.dataset.move) {
            const one = button.closest("[data-row], [data-rule]");
            one.previousElementSibling?.before(one);
            button.focus();
        }
        number();
        soon();
    });
    form.addEventListener("input", () => {
        number();
        soon();
    });
    form.addEventListener("submit", () => {
        number();
        changed = false;
    });
    window.addEventListener("beforeunload", (event) => changed && event.preventDefault());

    number();
    show(JSON.parse(document.getElementById("problems").textContent));

    // "Go there" of a check: the field it is about, on this page or coming from another.
    function go(path) {
        let field = place(path);
        for (let fold = field?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
        if (field && !field.offsetParent) field = field.closest("[data-rule], [data-row]")?.querySelector("select"); // shown as rows
        field?.scrollIntoView({ block: "center" });
        field?.focus();
        return field;
    }
    document.addEventListener("click", (event) => {
        const link = event.target.closest("[data-goto]");
        if (link && go(link.dataset.goto)) event.preventDefault();
    });
    if (/^#[a-z]+(\.|$)/.test(window.location.hash)) go(decodeURIComponent(window.location.hash.slice(1)));
}
