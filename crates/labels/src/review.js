"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = {
    en: {
      given: "Given", suggested: "Suggested", keep: "Keep", take: "Take suggestion", other: "Choose another…",
      skip: "Skip", download: "Download corrections", who: "Your name", decided: "decided", of: "of", row: "Row",
      kept: "kept", becomes: "becomes", skipped: "skipped", previous: "Previous page", next: "Next page", page: "Page",
      none: "Nothing to review.", note: "Note (optional)",
      keys: "Keys: J and K move, 1 keeps, 2 takes the suggestion, 3 chooses another, 4 skips, 0 takes a decision back, D downloads.",
      lost: "Decisions are kept in this browser until you download them.",
      unsaved: "This browser keeps nothing for this page: download before you close it.",
    },
    "zh-Hans": {
      given: "现有标签", suggested: "建议标签", keep: "保留", take: "采用建议", other: "选择其他…",
      skip: "跳过", download: "下载更正文件", who: "您的姓名", decided: "已处理", of: "/", row: "行",
      kept: "已保留", becomes: "改为", skipped: "已跳过", previous: "上一页", next: "下一页", page: "第",
      none: "没有需要审核的标签。", note: "备注（可选）",
      keys: "快捷键：J、K 移动，1 保留，2 采用建议，3 选择其他，4 跳过，0 撤销，D 下载。",
      lost: "处理结果保存在此浏览器中，直到您下载。",
      unsaved: "此浏览器不保存本页内容：请在关闭前下载。",
    },
  }[data.language];
  const pageSize = 50;
  const issues = data.issues;
  const id = (issue) => issue.key + "/" + issue.row + "/" + issue.given.label;
  const slot = "modelyard.review:" + data.title;
  let storing = true;
  let decisions = {};
  let who = "";
  let current = 0;
  try {
    const stored = JSON.parse(localStorage.getItem(slot) || "{}");
    decisions = stored.decisions || {};
    who = stored.who || "";
  } catch { storing = false; }

  const element = (name, properties, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "class") made.className = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (key in made && typeof value !== "string") made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  };
  const save = () => {
    try { localStorage.setItem(slot, JSON.stringify({ decisions, who })); } catch { storing = false; }
  };
  const share = (value) => (value === null ? "–" : (100 * value).toFixed(1) + " %");

  const count = element("span", { "aria-live": "polite" });
  const progress = element("progress", { max: Math.max(issues.length, 1), value: 0, "aria-hidden": "true" });
  const name = element("input", {
    placeholder: words.who, "aria-label": words.who, value: who, maxlength: "200",
    oninput: (event) => { who = event.target.value; save(); },
  });
  name.value = who;
  const list = element("ol", {});
  const pages = element("nav", { class: "pages" });
  const storage = element("p", { class: "soft" });

  const decide = (index, to, skipped) => {
    const key = id(issues[index]);
    const before = decisions[key] || {};
    if (to === null && !skipped) delete decisions[key];
    else decisions[key] = { to, skipped: Boolean(skipped), note: before.note || "", when: new Date().toISOString().slice(0, 19) + "Z" };
    save();
    update(index);
    if (to !== null || skipped) move(index + 1);
  };

  const verdict = (issue, decision) => {
    if (!decision) return "";
    if (decision.skipped) return words.skipped;
    if (decision.to === issue.given.label) return "✓ " + words.kept;
    return "→ " + words.becomes + " " + decision.to;
  };

  const card = (index) => {
    const issue = issues[index];
    const decision = decisions[id(issue)];
    const pressed = (state) => (state ? "true" : "false");
    const is = (label) => decision && !decision.skipped && decision.to === label;
    const others = data.labels.filter((label) => label !== issue.given.label && label !== issue.suggested.label);
    const choose = element("select", {
      "aria-label": words.other,
      onchange: (event) => { if (event.target.value !== "") decide(index, event.target.value); },
    }, element("option", { value: "" }, words.other), ...others.map((label) => element("option", { value: label }, label)));
    if (decision && others.includes(decision.to)) choose.value = decision.to;
    const button = (text, key, state, act, strong) =>
      element("button", { type: "button", class: strong ? "strong" : "", "aria-pressed": pressed(state), onclick: act }, text, element("kbd", {}, key));
    const note = element("input", {
      placeholder: words.note, "aria-label": words.note, maxlength: "2000",
      oninput: (event) => { decisions[id(issue)].note = event.target.value; save(); },
    });
    if (decision) note.value = decision.note;
    return element("li", { class: "card" + (index === current ? " current" : ""), id: "card" + index, tabindex: "-1", onfocusin: () => mark(index) },
      element("div", { class: "meta" }, element("span", {}, (index + 1) + " " + words.of + " " + issues.length), element("span", {}, words.row + " " + issue.row)),
      element("p", { class: "text", dir: "auto" }, issue.text),
      element("div", { class: "labels" },
        element("span", { class: "name" }, words.given), element("span", { class: "label" }, issue.given.label), element("span", { class: "number" }, share(issue.given.probability)),
        element("span", { class: "name" }, words.suggested), element("span", { class: "label" }, issue.suggested.label), element("span", { class: "number" }, share(issue.suggested.probability))),
      element("div", { class: "actions" },
        button(words.keep, "1", is(issue.given.label), () => decide(index, issue.given.label)),
        button(words.take, "2", is(issue.suggested.label), () => decide(index, issue.suggested.label)),
        choose,
        button(words.skip, "4", decision && decision.skipped, () => decide(index, null, true)),
        decision && !decision.skipped ? note : null,
        element("span", { class: "verdict" }, verdict(issue, decision))));
  };

  const tally = () => {
    const done = issues.filter((issue) => decisions[id(issue)]).length;
    count.textContent = done + " " + words.of + " " + issues.length + " " + words.decided;
    progress.value = done;
    storage.textContent = storing ? words.lost : words.unsaved;
  };

  const update = (index) => {
    const old = document.getElementById("card" + index);
    if (old) {
      const focused = old.contains(document.activeElement);
      const fresh = card(index);
      old.replaceWith(fresh);
      if (focused) fresh.focus({ preventScroll: true });
    }
    tally();
  };

  const mark = (index) => {
    if (index === current) return;
    const old = document.getElementById("card" + current);
    if (old) old.classList.remove("current");
    current = index;
    document.getElementById("card" + index).classList.add("current");
  };

  const move = (index) => {
    if (index < 0 || index >= issues.length) return;
    if (Math.floor(index / pageSize) !== Math.floor(current / pageSize)) {
      current = index;
      show();
    }
    mark(index);
    const target = document.getElementById("card" + index);
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "nearest" });
  };

  const show = () => {
    const page = Math.floor(current / pageSize);
    const last = Math.max(0, Math.ceil(issues.length / pageSize) - 1);
    const from = page * pageSize;
    const shown = issues.slice(from, from + pageSize).map((_, offset) => card(from + offset));
    list.replaceChildren(...shown);
    pages.replaceChildren();
    if (last > 0) {
      pages.append(
        element("button", { type: "button", disabled: page === 0, onclick: () => move((page - 1) * pageSize) }, words.previous),
        element("span", { class: "soft" }, words.page + " " + (page + 1) + " / " + (last + 1)),
        element("button", { type: "button", disabled: page === last, onclick: () => move((page + 1) * pageSize) }, words.next));
    }
    tally();
  };

  const corrections = () => {
    const lines = [data.header];
    for (const issue of issues) {
      const decision = decisions[id(issue)];
      if (!decision || decision.skipped) continue;
      const line = { key: issue.key, row: issue.row, from: issue.given.label, to: decision.to, who: who.trim(), when: decision.when };
      if (decision.note) line.note = decision.note;
      lines.push(JSON.stringify(line));
    }
    return lines.join("\n") + "\n";
  };

  const download = () => {
    const url = URL.createObjectURL(new Blob([corrections()], { type: "application/jsonl" }));
    const link = element("a", { href: url, download: "corrections.jsonl" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const issue = issues[current];
    const act = {
      j: () => move(current + 1), ArrowDown: () => move(current + 1), k: () => move(current - 1), ArrowUp: () => move(current - 1),
      1: () => decide(current, issue.given.label), 2: () => decide(current, issue.suggested.label),
      3: () => document.querySelector("#card" + current + " select").focus(),
      4: () => decide(current, null, true), 0: () => decide(current, null, false), d: download,
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act && (issue || event.key === "d")) { event.preventDefault(); act(); }
  });

  document.getElementById("app").replaceChildren(
    element("p", { class: "soft" }, words.keys), storage,
    element("div", { class: "bar" }, count, progress, element("span", { class: "room" }), name,
      element("button", { type: "button", class: "strong", onclick: download }, words.download, element("kbd", {}, "D"))),
    issues.length ? list : element("p", {}, words.none), pages);
  show();
})();
