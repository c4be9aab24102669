// Ids that nobody else makes.

/** 128 random bits. `crypto.randomUUID` is there by https alone, and the console is also served by plain http. */
export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
