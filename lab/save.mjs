// Boots the lab's machine in v86, waits for its prompts, starts some containers so that their caches
// are there, and saves the state.
//
//   node save.mjs NODE_MODULES KERNEL INITRAMFS OUT
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { options } from "./options.mjs";

const [modules, kernel, initramfs, out] = process.argv.slice(2);
const build = path.resolve(modules, "v86/build");
const { V86 } = await import(pathToFileURL(path.join(build, "libv86.mjs")));
const BIOS = process.env.SEABIOS ?? "/usr/share/seabios";
const COMMAND_LINE =
  "console=ttyS0 tsc=reliable mitigations=off random.trust_cpu=on nokaslr loglevel=3 " +
  "init_on_free=1 net.ifnames=0"; // pages that are free are zero, and left out of the state
const PATIENCE = 900; // s, on a machine that does something else as well
const WARM_UP = ["08c_network true", "03_userspace true"];
const USED_BY_THE_USER = ["08c_network true", "06_pivot_root true"];
const TERMINALS = ["root", "user", "user2", "root2"]; // serial ports
const PROMPT = { root: /host:~# $/, user: /host:~\$ $/, user2: /host:~\$ $/, root2: /host:~# $/ };

const started = Date.now();
const emulator = new V86({
  ...options,
  wasm_path: path.join(build, "v86.wasm"),
  bios: { url: path.join(BIOS, "bios.bin") },
  vga_bios: { url: path.join(BIOS, "vgabios-stdvga.bin") },
  bzimage: { url: kernel },
  initrd: { url: initramfs },
  cmdline: COMMAND_LINE,
  autostart: true,
});

const screen = { root: "", user: "", user2: "" };
TERMINALS.forEach((who, serial) =>
  emulator.add_listener(`serial${serial}-output-byte`, (byte) => {
    screen[who] += String.fromCharCode(byte);
    if (process.env.ECHO && who === "root") process.stderr.write(String.fromCharCode(byte));
  }));

async function until(who, wanted) {
  const limit = Date.now() + PATIENCE * 1000;
  while (!wanted.test(screen[who])) {
    if (Date.now() > limit) {
      console.error(`save.mjs: ${who}'s terminal never shows ${wanted}; the last of it:\n${screen[who].slice(-3000)}`);
      process.exit(1);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function run(who, line) {
  screen[who] = "";
  emulator.serial_send_bytes(TERMINALS.indexOf(who), new TextEncoder().encode(line + "; echo status=$?\n"));
  await until(who, /status=\d+\r?\n[^]*[#$] $/);
  const status = screen[who].match(/status=(\d+)\r?\n/)[1];
  if (status !== "0") {
    console.error(`save.mjs: ${who}: ${line}: status ${status}\n${screen[who]}`);
    process.exit(1);
  }
}

for (const who of TERMINALS) await until(who, PROMPT[who]);
console.error(`save.mjs: all prompts after ${(Date.now() - started) / 1000} s`);
for (const line of WARM_UP) await run("root", line);
for (const stage of USED_BY_THE_USER) await run("user", stage);
await run("root", "rm -f ~/.bash_history; sync; echo 3 >/proc/sys/vm/drop_caches");
for (const port of TERMINALS.keys()) {
  emulator.serial_send_bytes(port, new TextEncoder().encode("clear; history -c\n"));
}
await new Promise((resolve) => setTimeout(resolve, 5000));
await emulator.stop();
fs.writeFileSync(out, new Uint8Array(await emulator.save_state()));
console.error(`save.mjs: ${fs.statSync(out).size} bytes after ${(Date.now() - started) / 1000} s`);
process.exit(0);
