"use strict";
// The lab's page: one machine in the emulator v86, restored from a state that was made when the page was
// built; two terminals for each of its two users; and the lessons beside them.
//
// `LAB` has what differs between the one file and the folder: bytes(name), a promise.
(() => {
  const MARKS = { user: 1, user2: 2, root: 0, root2: 3 }; // serial ports
  const SCROLLBACK = 5000; // lines
  const KEEP_EVERY = 60000; // ms
  const KEPT_LINES = 500;
  const WAIT = 60000; // ms for a step's output
  const QUIET = 900; // ms without output: the command has ended or waits
  const HALTED = 300; // ms in which the processor does next to nothing: all processes wait
  const BACKGROUND = 15000; // ms
  const FEW = 250000; // instructions in a tenth of a second; Linux takes 100000 when all processes wait
  const $ = (id) => document.getElementById(id);
  const utf8 = new TextEncoder();
  const times = { script: performance.now() };
  const say = (text) => { $("status").textContent = text; };

  function stop(text) {
    $("notice").textContent = text;
    $("notice").hidden = false;
    say("not running");
  }

  // --- What the browser keeps -----------------------------------------------------------------------

  // May be forbidden, for a file or in a private window. Then nothing is kept.
  const settings = {
    get(name, without) { try { return JSON.parse(localStorage.getItem("lab." + name)) ?? without; } catch { return without; } },
    set(name, value) { try { localStorage.setItem("lab." + name, JSON.stringify(value)); } catch { /* see above */ } },
  };

  function database(mode, action) {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open("lab", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore("machine");
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const transaction = opening.result.transaction("machine", mode);
        const request = action(transaction.objectStore("machine"));
        transaction.oncomplete = () => { opening.result.close(); resolve(request.result); };
        transaction.onerror = transaction.onabort = () => reject(transaction.error);
      };
    });
  }
  const kept = {
    get: () => database("readonly", (store) => store.get("last")).catch(() => undefined),
    set: (value) => database("readwrite", (store) => store.put(value, "last")),
    clear: () => database("readwrite", (store) => store.delete("last")).catch(() => {}),
  };

  // --- Terminals -----------------------------------------------------------------------------------

  const terminals = {};
  let emulator;

  function send(who, text) {
    terminals[who].changed = true;
    emulator?.serial_send_bytes(MARKS[who], utf8.encode(text));
  }

  // One line to the machine's agent, which listens at the virtual console.
  function tell(line) {
    emulator?.bus.send("virtio-console0-input-bytes", utf8.encode(line + "\n"));
  }

  function make_terminal(who) {
    const phone = matchMedia("(max-width: 760px)").matches;
    const term = new Terminal({
      fontSize: phone ? 12 : 14, lineHeight: 1.15, scrollback: SCROLLBACK, cursorBlink: false,
      fontFamily: '"JetBrains Mono", ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace',
      theme: { background: "#05070a", foreground: "#dfe3ea" },
      screenReaderMode: false,
    });
    const fit = new FitAddon.FitAddon();
    term.loadAddon(fit);
    term.open($(who));
    const terminal = { term, fit, heard: 0, changed: false, size: "" };
    term.onData((data) => send(who, data));
    // Ctrl-Shift-C and Ctrl-Shift-V, as in other terminals; Cmd-C and Cmd-V are the browser's own.
    term.attachCustomKeyEventHandler((event) => {
      if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey) return true;
      if (event.code === "KeyC") {
        navigator.clipboard?.writeText(term.getSelection());
      } else if (event.code !== "KeyV") {
        return true;
      }
      if (event.code === "KeyC") event.preventDefault();
      return false; // the browser pastes by itself
    });
    new ResizeObserver(() => resize(who)).observe($(who));
    terminals[who] = terminal;
  }

  function resize(who) {
    const { term, fit } = terminals[who];
    if (!$(who).clientHeight) return; // is not shown
    fit.fit();
    const size = `${term.rows} ${term.cols}`;
    if (!emulator || terminals[who].size === size) return;
    terminals[who].size = size;
    tell(`size ttyS${MARKS[who]} ${size}`);
  }

  // The text on a terminal, from line `from` of its buffer on.
  function text_of(who, from = 0) {
    const buffer = terminals[who].term.buffer.active;
    const lines = [];
    for (let i = from; i < buffer.length; ++i) {
      const line = buffer.getLine(i);
      const text = line.translateToString(true);
      if (line.isWrapped && lines.length) lines[lines.length - 1] += text; else lines.push(text);
    }
    while (lines.length && lines[lines.length - 1] === "") lines.pop();
    return lines;
  }

  // --- Lessons --------------------------------------------------------------------------------------

  const lessons = JSON.parse($("lessons").textContent);
  const done = new Set(settings.get("done", []));
  const ANY = "…";

  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  // Whether the lines that were seen are those of the page, where `…` stands for any text, or, alone in a
  // line, for any lines.
  function agrees(written, seen) {
    const pattern = written.map((line) => line.trim() === ANY
      ? "(?:.*\\n)*?" : line.trimEnd().split(ANY).map(escaped).join(".*") + "[ \\t]*\\n").join("");
    return new RegExp("^" + pattern + "$").test(seen.map((line) => line + "\n").join(""));
  }

  function lesson_of(step) { return lessons.find((lesson) => step.id.startsWith(lesson.id + ".")); }

  function show_progress() {
    for (const [index, lesson] of lessons.entries()) {
      const steps = lesson.parts.flatMap((part) => part.steps ?? []).filter((step) => !step.missing);
      const count = steps.filter((step) => done.has(step.id)).length;
      const full = steps.length > 0 && count === steps.length && (!lesson.exercise || done.has(`${lesson.id}.exercise`));
      $("lesson").options[index].text = `${full ? "✓ " : ""}${lesson.title}`;
      const solved = lesson.exercise && done.has(`${lesson.id}.exercise`) ? ", exercise done" : "";
      if ($("lesson").selectedIndex === index) $("progress").textContent = `${count} of ${steps.length} steps done${solved}`;
    }
  }

  function mark(step, element) {
    done.add(step.id);
    settings.set("done", [...done]);
    element.classList.add("done");
    show_progress();
  }

  // What busybox's shell says when it starts; the pages leave it out, too.
  function without_banner(lines) {
    const at = lines.findIndex((line) => /^BusyBox v.*built-in shell/.test(line));
    if (at < 0) return lines;
    const end = lines.findIndex((line, index) => index > at + 1 && line.trim() !== "");
    return [...lines.slice(0, at).filter((line) => line.trim()), ...(end < 0 ? [] : lines.slice(end))];
  }

  const PROMPT = /(?:host|cont|\d\d[a-z]?_\w+):\S*[$#]$/;
  const is_prompt = (line) => PROMPT.test(line.trimEnd());

  // The output of a command: what follows the line in which it was typed, without the prompt at the end,
  // which may stand behind output that has no end of line.
  function output_of(step, lines) {
    const last = step.command[step.command.length - 1];
    const typed = (line) => line.trimEnd().endsWith(last.trimEnd()) &&
      (step.command.length > 1 ? line.startsWith(">") : is_prompt(line.slice(0, line.lastIndexOf(last.trimEnd()))));
    const shown = lines.slice(Math.max(lines.findLastIndex(typed), 0) + 1);
    const rest = shown.length ? shown[shown.length - 1].trimEnd() : "";
    if (is_prompt(rest)) {
      shown.pop();
      const before = rest.replace(PROMPT, "");
      if (before) shown.push(before);
    }
    return without_banner(shown);
  }

  async function settled(who) {
    const until = Date.now() + WAIT;
    do {
      await new Promise((resolve) => setTimeout(resolve, 50));
    } while (performance.now() - terminals[who].heard < QUIET && Date.now() < until);
  }

  // The prompt comes back before a command that was started with & is there, for which the next step may
  // look. How long that takes depends on the browser's machine. Some of these commands never wait.
  async function halted(until) {
    let before = emulator.get_instruction_counter();
    for (let calm = 0; calm < HALTED && Date.now() < until;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = emulator.get_instruction_counter();
      calm = now - before < FEW ? calm + 100 : 0;
      before = now;
    }
  }

  // Types a step's command, waits for the prompt that follows, and resolves to the lines between.
  async function run(step) {
    const { term } = terminals[step.who];
    const state = terminals[step.who];
    term.scrollToBottom();
    // A container that is still open there from the steps before.
    const here = text_of(step.who).pop() ?? "";
    if (step.prompt.startsWith("host:") && is_prompt(here) && !here.startsWith("host:")) {
      send(step.who, "exit\n");
      await settled(step.who);
    }
    const begin = term.buffer.active.baseY + term.buffer.active.cursorY;
    send(step.who, step.command.join("\n") + "\n");
    const last = step.command[step.command.length - 1].trimEnd();
    const until = Date.now() + WAIT;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const lines = text_of(step.who, begin);
      const quiet = performance.now() - state.heard;
      const back = lines.length > step.command.length && is_prompt(lines[lines.length - 1]);
      if ((back && quiet > QUIET) || Date.now() > until) {
        if (last.endsWith("&")) await halted(Date.now() + BACKGROUND);
        return { lines: output_of(step, lines), back };
      }
    }
  }

  async function perform(step, element) {
    const said = element.querySelector(".said");
    said.className = "said";
    said.textContent = "running …";
    const { lines, back } = await run(step);
    const expected = step.seen ?? step.output;
    const same = agrees(expected, lines.map((line) => line.trimEnd()));
    said.textContent = same ? "✓ as expected" : back ? "not quite what is expected here: compare" : "it has not ended yet";
    said.classList.add(same ? "same" : "other");
    mark(step, element);
    terminals[step.who].term.focus();
    return { same, lines, expected, back };
  }

  function step_element(step) {
    const element = document.createElement("div");
    element.className = `step ${step.who.replace("2", "")}${done.has(step.id) ? " done" : ""}`;
    element.dataset.step = step.id;
    const line = element.appendChild(document.createElement("div"));
    line.className = "line";
    if (!step.missing) {
      const button = line.appendChild(document.createElement("button"));
      button.textContent = "▶";
      button.title = `Type it into the terminal "${$(step.who).parentElement.querySelector("h2").textContent}"`;
      button.setAttribute("aria-label", `Run: ${step.command[0]}`);
      button.onclick = () => perform(step, element);
    }
    const command = line.appendChild(document.createElement("pre"));
    command.className = "command";
    command.append(Object.assign(document.createElement("b"), { textContent: step.prompt }), step.command.join("\n"));
    const output = step.seen ?? step.output;
    if (output.length) {
      element.appendChild(Object.assign(document.createElement("pre"), { className: "output", textContent: output.join("\n") }));
    }
    if (step.missing || step.note) {
      element.appendChild(Object.assign(document.createElement("p"), { className: "differs", textContent: step.missing ?? step.note }));
    }
    element.appendChild(Object.assign(document.createElement("span"), { className: "said" }));
    return element;
  }

  // What the agent writes, a line each: check LESSON STATUS TEXT
  const waiting = new Map();
  let answer = "";

  function hear(bytes) {
    answer += new TextDecoder().decode(bytes);
    const lines = answer.split("\n");
    answer = lines.pop();
    for (const line of lines) {
      const [, id, status, text] = line.trimEnd().match(/^check (\S+) (\d+) ?(.*)$/) ?? [];
      waiting.get(id)?.({ done: status === "0", text });
      waiting.delete(id);
    }
  }

  function check(lesson) {
    return new Promise((resolve) => {
      waiting.set(lesson.id, resolve);
      tell(`check ${lesson.id}`);
    });
  }

  function exercise_element(lesson) {
    const { task, answer: typed, why } = lesson.exercise;
    const element = document.createElement("div");
    element.id = "exercise";
    element.innerHTML = `<h3>Exercise</h3><p>${task}</p><p><button>Check</button> <span class="said" role="status"></span></p>` +
      `<details><summary>Answer</summary><pre></pre><p>${why}</p></details>`;
    element.querySelector("pre").textContent = typed.join("\n");
    const said = element.querySelector(".said");
    element.querySelector("button").onclick = async () => {
      said.className = "said";
      said.textContent = "looking …";
      const outcome = await check(lesson);
      said.textContent = outcome.done ? "✓ done" : outcome.text;
      said.classList.add(outcome.done ? "same" : "other");
      if (outcome.done) {
        done.add(`${lesson.id}.exercise`);
        settings.set("done", [...done]);
        show_progress();
      }
    };
    return element;
  }

  // Four terminals would be small ones, and no lesson needs all of them.
  function show_terminals(lesson) {
    const uses = (who) => lesson.parts.some((part) => part.steps?.some((step) => step.who === who));
    $("root2").parentElement.hidden = !uses("root2");
    $("user2").parentElement.hidden = uses("root2") && !uses("user2");
  }

  function show(index) {
    const lesson = lessons[index];
    show_terminals(lesson);
    const text = $("text");
    text.replaceChildren(Object.assign(document.createElement("h2"), { textContent: lesson.title }));
    for (const part of lesson.parts) {
      if (part.html) {
        text.insertAdjacentHTML("beforeend", part.html);
      } else {
        text.append(...part.steps.map(step_element));
      }
    }
    if (lesson.exercise) text.append(exercise_element(lesson));
    const next = text.appendChild(Object.assign(document.createElement("div"), { className: "next" }));
    for (const [other, label] of [[index - 1, "← "], [index + 1, "→ "]]) {
      if (!lessons[other]) continue;
      const button = next.appendChild(document.createElement("button"));
      button.textContent = label + lessons[other].title;
      button.onclick = () => choose(other);
    }
    text.scrollTop = 0;
    show_progress();
  }

  function choose(index) {
    $("lesson").selectedIndex = index;
    settings.set("lesson", lessons[index].id);
    show(index);
  }

  // --- The machine ----------------------------------------------------------------------------------

  let fresh; // the state that the page was built with

  function greet() {
    for (const who of Object.keys(MARKS)) {
      terminals[who].size = "";
      resize(who);
    }
    tell(`date ${Math.floor(Date.now() / 1000)}`);
    const seed = crypto.getRandomValues(new Uint8Array(32));
    tell("seed " + Array.from(seed, (byte) => byte.toString(16).padStart(2, "0")).join(""));
  }

  async function keep() {
    if (!$("keep").checked || !emulator?.is_running()) return;
    if (!Object.keys(MARKS).some((who) => terminals[who].changed)) return;
    for (const who of Object.keys(MARKS)) terminals[who].changed = false;
    const screens = Object.fromEntries(Object.keys(MARKS).map((who) => [who, text_of(who).slice(-KEPT_LINES)]));
    try {
      await kept.set({ build: LAB.build, state: await emulator.save_state(), screens });
    } catch (error) {
      $("keep").checked = false;
      stop(`The machine cannot be kept in this browser: ${error}`);
      say("running");
    }
  }

  async function reset() {
    await kept.clear();
    await emulator.stop();
    await emulator.restore_state(fresh.slice(0));
    for (const who of Object.keys(MARKS)) {
      terminals[who].term.reset();
      terminals[who].changed = false;
    }
    await emulator.run();
    greet();
    for (const who of Object.keys(MARKS)) emulator.serial_send_bytes(MARKS[who], utf8.encode("\x0c"));
    say("as new");
  }

  async function start() {
    if (typeof WebAssembly !== "object") {
      stop("This browser has no WebAssembly, or it is switched off, and the lab's machine needs it. The pages of the stages can be read without it; to try them, see README.md for a virtual machine.");
      return;
    }
    for (const who of Object.keys(MARKS)) make_terminal(who);
    $("keep").checked = settings.get("keep", false);
    const before = $("keep").checked ? await kept.get() : undefined;
    const usable = before?.build === LAB.build;
    const [wasm, state] = await Promise.all([LAB.bytes("wasm"), LAB.bytes("state")]);
    fresh = state.buffer;
    times.decoded = performance.now();
    emulator = new V86({
      ...LAB.options,
      wasm_fn: async (imports) => (await WebAssembly.instantiate(wasm, imports)).instance.exports,
      initial_state: { buffer: usable ? before.state : fresh.slice(0) },
      autostart: true,
    });
    for (const who of Object.keys(MARKS)) {
      if (usable) terminals[who].term.write(before.screens[who].join("\r\n"));
      emulator.add_listener(`serial${MARKS[who]}-output-byte`, (byte) => {
        times.first ??= performance.now();
        terminals[who].heard = performance.now();
        terminals[who].term.write(Uint8Array.of(byte));
      });
    }
    emulator.add_listener("virtio-console0-output-bytes", hear);
    emulator.add_listener("emulator-started", () => {
      if (times.started) return;
      times.started = performance.now();
      greet();
      // Ctrl-L: the shell shows its prompt again.
      if (!usable) for (const who of Object.keys(MARKS)) emulator.serial_send_bytes(MARKS[who], utf8.encode("\x0c"));
      say(`running, ${usable ? "as you left it" : "restored"} in ${(times.started / 1000).toFixed(1)} s`);
      terminals.user.term.focus();
    });
    $("reset").onclick = reset;
    $("keep").onchange = () => {
      settings.set("keep", $("keep").checked);
      if ($("keep").checked) {
        terminals.user.changed = true;
        keep();
      } else {
        kept.clear();
      }
    };
    setInterval(keep, KEEP_EVERY);
    document.addEventListener("visibilitychange", () => { if (document.hidden) keep(); });
  }

  for (const lesson of lessons) $("lesson").add(new Option(lesson.title));
  $("lesson").onchange = () => choose($("lesson").selectedIndex);
  choose(Math.max(0, lessons.findIndex((lesson) => lesson.id === settings.get("lesson", ""))));
  $("divider").onpointerdown = (event) => {
    $("divider").setPointerCapture(event.pointerId);
    $("divider").onpointermove = (move) => document.documentElement.style.setProperty("--text", `${Math.min(75, Math.max(15, 100 * move.clientX / innerWidth))}%`);
    $("divider").onpointerup = () => { $("divider").onpointermove = null; };
  };

  // For the tests, which look at the terminals from outside.
  window.lab = {
    times, text_of, send, reset, keep, choose, lessons, check,
    running: () => Boolean(times.started),
    instructions: () => emulator.get_instruction_counter(),
    perform: (id) => {
      const element = document.querySelector(`[data-step="${id}"]`);
      const step = lessons.flatMap((l) => l.parts.flatMap((part) => part.steps ?? [])).find((s) => s.id === id);
      return perform(step, element);
    },
  };
  start().catch((error) => stop(`The machine could not be started: ${error}`));
})();
