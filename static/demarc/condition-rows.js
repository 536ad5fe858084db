// A rule's condition as rows of field, operator and value; beside it, how many accounts it is about.
// On the page of rules (#scoring) with many of them, else with one, which is checked as it is typed.
"use strict";
{
    const desk = document.querySelector("[data-check]");
    const form = desk.closest("form");
    const alone = form.id !== "scoring";
    const { operators, fields: offered } = JSON.parse(document.getElementById("condition-fields").textContent);
    let fields = offered;
    const states = new WeakMap(); // of each rule: its rows, or null where it is written as SQL
    const TWO = ["between", "not between"];
    const MANY = ["in", "not in"];
    const field = (name) => fields.find((one) => one.name === name);
    const takes = (operator) =>
        TWO.includes(operator) ? 2 : MANY.includes(operator) ? Infinity : /(known|yes|no)$/.test(operator) ? 0 : 1;

    function make(tag, properties = {}, ...children) {
        const made = document.createElement(tag);
        for (const [key, value] of Object.entries(properties)) {
            if (key.startsWith("data-") || key.startsWith("aria-")) made.setAttribute(key, value);
            else made[key] = value;
        }
        made.append(...children);
        return made;
    }
    function select(options, value, properties) {
        const made = make("select", properties);
        const families = new Map();
        for (const [key, words, family] of options) {
            let into = made;
            if (family) {
                if (!families.has(family)) {
                    families.set(family, make("optgroup", { label: family }));
                    made.append(families.get(family));
                }
                into = families.get(family);
            }
            into.append(make("option", { value: key, selected: key === value }, words));
        }
        return made;
    }

    // One rule's rows. Every change is written into the hidden field, which is what the form sends.
    class Rows {
        constructor(rule, group) {
            this.rule = rule;
            this.group = group;
            this.builder = rule.querySelector("[data-builder]");
        }
        get path() {
            return rule_path(this.rule);
        }
        draw(focus) {
            this.builder.replaceChildren(this.drawn(this.group, []));
            this.number();
            if (focus) this.builder.querySelector(`[data-at="${focus}"]`)?.focus();
        }
        number() {
            this.builder.dataset.path = `${this.path}.rows`;
            this.builder.querySelectorAll("[data-place]").forEach((one) => {
                one.dataset.path = `${this.path}.rows.${one.dataset.place}`;
            });
        }
        drawn(group, place) {
            const box = make("div", { className: place.length ? "rows group" : "rows" });
            if (place.length) box.dataset.place = place.join(".");
            if (group.rows.length > 1 || place.length) box.append(this.head(group, place));
            if (!group.rows.length && !place.length) box.append(make("p", { className: "mute everybody" }, this.rule.dataset.empty || "everybody else"));
            group.rows.forEach((one, index) => {
                const at = [...place, index];
                box.append(one.rows ? this.drawn(one, at) : this.row(one, group, at));
            });
            const buttons = make("div", { className: "row" }, this.button("+ Condition", [...place, "add"], () => {
                group.rows.push({ field: "", operator: ">=", values: [""] });
                this.changed([...place, group.rows.length - 1, "field"]);
            }));
            if (!place.length) {
                buttons.append(this.button("+ Group", ["group"], () => {
                    const join = group.join === "all" ? "any" : "all";
                    group.rows.push({ join, rows: [{ field: "", operator: ">=", values: [""] }] });
                    this.changed([group.rows.length - 1, 0, "field"]);
                }));
            }
            box.append(buttons);
            return box;
        }
        head(group, place) {
            const join = select([["all", "all of these"], ["any", "any of these"]], group.join, {
                "aria-label": place.length ? "How the rows of this group are joined" : "How the rows are joined",
                "data-at": [...place, "join"].join("."),
            });
            join.addEventListener("input", () => {
                group.join = join.value;
                this.changed();
            });
            const head = make("div", { className: "row join" }, join);
            if (place.length) head.append(this.remover("Remove group", place));
            return head;
        }
        row(row, group, place) {
            const known = field(row.field);
            const at = (part) => [...place, part].join(".");
            const names = [["", "Choose a data field"], ...fields.map((one) => [one.name, one.label, one.family])];
            if (row.field && !known) names.splice(1, 0, [row.field, row.field]);
            const chosen = select(names, row.field, { "aria-label": "Data field", "data-at": at("field"), className: "field-name" });
            chosen.addEventListener("input", () => {
                row.field = chosen.value;
                const kind = field(row.field)?.kind ?? "text";
                if (!operators[kind].some(([code]) => code === row.operator)) row.operator = operators[kind][0][0];
                this.fit(row, true);
                this.changed([...place, "field"]);
            });
            const asked = select(operators[known?.kind ?? "number"], row.operator, {
                "aria-label": "What is asked", "data-at": at("operator"), disabled: !row.field,
            });
            asked.addEventListener("input", () => {
                row.operator = asked.value;
                this.fit(row);
                this.changed([...place, "operator"]);
            });
            const line = make("div", { className: "row condition-row", "data-place": place.join(".") }, chosen, asked);
            const values = make("span", { className: "values" });
            row.values.forEach((value, index) => {
                if (index) values.append(make("span", { className: "mute" }, TWO.includes(row.operator) ? "and" : "or"));
                const input = this.value(row, known, index, at(`values.${index}`));
                values.append(input);
                if (MANY.includes(row.operator) && input.type === "text") values.append(this.splitter(row, index, input, place));
            });
            if (MANY.includes(row.operator)) {
                values.append(this.button("+ value", [...place, "value"], () => {
                    row.values.push("");
                    this.changed([...place, `values.${row.values.length - 1}`]);
                }));
            }
            line.append(values, this.remover("Remove condition", place));
            return line;
        }
        value(row, known, index, at) {
            const properties = { "aria-label": row.values.length > 1 ? `Value ${index + 1}` : "Value", "data-at": at };
            let input;
            if (known?.choices.length) {
                const choices = [["", "Choose a segment"], ...known.choices];
                if (row.values[index] && !known.choices.some(([key]) => key === row.values[index])) choices.push([row.values[index], row.values[index]]);
                input = select(choices, row.values[index], properties);
            } else {
                const kind = known?.kind;
                input = make("input", { ...properties, type: kind === "date" ? "date" : "text", value: row.values[index], spellcheck: false });
                if (kind === "number") Object.assign(input, { inputMode: "decimal", size: 10, placeholder: known.unit === "%" ? "40%" : known.unit });
            }
            input.addEventListener("input", () => {
                row.values[index] = input.value;
                this.write();
            });
            return input;
        }
        // A list typed into one box is one value; whoever meant several takes it apart. Some values have commas.
        splitter(row, index, input, place) {
            const parts = () => input.value.split(",").map((one) => one.trim()).filter(Boolean);
            const made = this.button("", [...place, `split.${index}`], () => {
                row.values.splice(index, 1, ...parts());
                this.changed([...place, "value"]);
            });
            const told = () => {
                made.hidden = parts().length < 2;
                made.textContent = `One value; make it ${parts().length}`;
            };
            input.addEventListener("input", told);
            told();
            return made;
        }
        // As many values as the operator takes.
        fit(row, afresh) {
            const count = takes(row.operator);
            if (afresh) row.values = [];
            row.values = row.values.slice(0, count);
            while (row.values.length < Math.min(count, TWO.includes(row.operator) ? 2 : 1)) row.values.push("");
        }
        button(words, at, act) {
            const made = make("button", { type: "button", className: "btn quiet small", "data-at": at.join(".") }, words);
            made.addEventListener("click", act);
            return made;
        }
        remover(words, place) {
            const made = make("button", { type: "button", className: "btn quiet", title: words, "aria-label": words }, "×");
            made.addEventListener("click", () => {
                const group = place.slice(0, -1).reduce((inner, index) => inner.rows[index], this.group);
                group.rows.splice(place.at(-1), 1);
                this.changed([...place.slice(0, -1), "add"]);
            });
            return made;
        }
        changed(focus) {
            this.write();
            this.draw(focus?.join("."));
        }
        write() {
            const hidden = this.rule.querySelector("[data-part=rows]");
            hidden.value = JSON.stringify(this.group);
            hidden.dispatchEvent(new Event("input", { bubbles: true }));
        }
    }
    const rule_path = (rule) => rule.querySelector("[data-part=when]").name.replace(/\.when$/, "");

    function show(rule) {
        const rows = states.get(rule);
        rule.querySelector("[data-builder]").hidden = !rows;
        rule.querySelector("[data-sql]").hidden = Boolean(rows);
        const button = rule.querySelector("[data-switch]");
        button.hidden = false;
        button.textContent = rows ? "Advanced (SQL)" : "As rows";
        rows?.draw();
    }
    function begin(rule) {
        const typed = rule.querySelector("[data-part=rows]").value;
        const known = rule.querySelector("script[type='application/json']");
        const group = typed ? JSON.parse(typed) : known ? JSON.parse(known.textContent) : { join: "all", rows: [] };
        states.set(rule, group && new Rows(rule, group));
        if (!group) note(rule, "This condition says more than rows can show.");
        rule.querySelector("[data-switch]").addEventListener("click", () => turn(rule));
        show(rule);
    }
    function note(rule, words) {
        rule.querySelector("[data-switch-note]").textContent = words;
    }

    const ask = async (address) => (await fetch(address, { method: "POST", body: new FormData(form) })).json();

    // Rows and SQL are two views of one thing: the server says each in the other's words.
    async function turn(rule) {
        const index = [...form.querySelectorAll("[data-rule]")].indexOf(rule);
        let found;
        try {
            found = await ask(desk.dataset.check);
        } catch {
            return note(rule, "No answer from the server.");
        }
        const hidden = rule.querySelector("[data-part=rows]");
        if (states.get(rule)) {
            if (found.problems.some((one) => one.path.startsWith(`${rule_path(rule)}.rows`))) return note(rule, "Finish the rows first.");
            rule.querySelector("[data-part=when]").value = found.rules[index].when;
            rule.querySelectorAll("[data-part=rows], [data-part=kept]").forEach((one) => (one.value = ""));
            states.set(rule, null);
        } else if (found.rules[index].rows) {
            states.set(rule, new Rows(rule, found.rules[index].rows));
        } else {
            return note(rule, "This condition says more than rows can show; it stays SQL.");
        }
        note(rule, "");
        show(rule);
        hidden.dispatchEvent(new Event("input", { bubbles: true }));
        rule.querySelector(states.get(rule) ? "[data-builder] select, [data-builder] button" : "[data-part=when]").focus();
    }

    // The data fields an account must have are keys; one is added by its name.
    const required = document.getElementById("requires");
    const place = document.getElementById("add-required");
    if (required && place) {
        const names = document.getElementById("new-row").content.querySelector("select").cloneNode(true);
        names.removeAttribute("name");
        names.setAttribute("aria-label", "Add a data field");
        names.options[0].textContent = "Add a data field";
        names.value = "";
        names.addEventListener("change", () => {
            const kept = required.value.split(",").map((one) => one.trim()).filter(Boolean);
            if (names.value && !kept.includes(names.value)) kept.push(names.value);
            required.value = kept.join(", ");
            names.value = "";
            required.dispatchEvent(new Event("input", { bubbles: true }));
        });
        place.append(names);
    }

    // -- counts

    let asked = 0;
    async function count() {
        const mine = ++asked;
        const said = document.getElementById("counted");
        let found = { said: "The accounts could not be counted: no answer from the server.", rules: [] };
        try {
            const answer = await fetch(desk.dataset.counts, { method: "POST", body: new FormData(form) });
            if (answer.ok) found = await answer.json();
        } catch {
            // said above
        }
        if (mine !== asked) return;
        said.textContent = found.said;
        form.querySelectorAll("[data-rule]").forEach((rule, index) => {
            rule.querySelector("[data-count]").textContent = found.rules[index] ?? "";
        });
    }
    async function check() {
        const mine = ++asked;
        try {
            const found = await ask(desk.dataset.check);
            if (mine === asked) document.getElementById("counted").textContent = found.said;
        } catch {
            // what was said last stays
        }
    }
    let waiting;
    function soon() {
        window.clearTimeout(waiting);
        waiting = window.setTimeout(alone ? check : count, 250);
    }

    function numbered() {
        form.querySelectorAll("[data-rule]").forEach((rule) => {
            if (!states.has(rule)) begin(rule);
            states.get(rule)?.number();
            rule.querySelectorAll("[data-named]").forEach((one) => {
                one.dataset.path = `${rule_path(rule)}.${one.dataset.named}`;
            });
        });
    }
    form.addEventListener("demarc:numbered", numbered);
    form.addEventListener("demarc:checked", ({ detail }) => {
        fields = detail.fields;
        // Problems of a condition shown as rows stand at the rows.
        form.querySelectorAll("[data-rule]").forEach((rule, index) => {
            if (!states.get(rule)) return;
            for (const one of detail.problems) {
                if (one.path === `rules.${index}.when`) one.path = `rules.${index}.rows`;
            }
        });
        soon();
    });
    if (alone) {
        numbered();
        form.addEventListener("input", soon);
    }
    soon();
}
