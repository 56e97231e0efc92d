// What the emulator has to be told alike when the state is made and when it is restored.
export const MEMORY = 256; // MiB
export const options = {
  memory_size: MEMORY * 1024 * 1024,
  vga_memory_size: 2 * 1024 * 1024,
  // ttyS0 and ttyS3 are root's terminals, ttyS1 and ttyS2 are the user's: virtio's console loses characters.
  uart1: true,
  uart2: true,
  uart3: true,
  virtio_console: true, // hvc0 is the agent's
  disable_speaker: true,
  disable_keyboard: true,
  disable_mouse: true,
};
