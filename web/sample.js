// A small data set to try everything with: sixty messages to a shop, made of a table, as a spreadsheet would have them.

const things = {
  billing: ["the invoice of last month", "a refund", "the second payment", "my credit card", "the price on the bill"],
  shipping: ["my parcel", "the delivery date", "the courier", "the tracking number", "the address on the label"],
  account: ["my password", "the login page", "my e-mail address", "the profile settings", "the two-step code"],
  returns: ["the broken lamp", "shoes in a wrong size", "an exchange", "the return form", "a missing part"],
};
const patterns = [(thing) => `I have a question about ${thing}, please help.`, (thing) => `There is something wrong with ${thing} again!`, (thing) => `"${thing}" – who can look into this, today?`];

// The rows in an order that mixes the categories.
export function sampleTable() {
  const rows = [];
  for (const [p, pattern] of patterns.entries())
    for (let i = 0; i < 5; i++)
      for (const [category, list] of Object.entries(things)) rows.push([category, pattern(list[(i + p) % list.length])]);
  const cell = (text) => `"${text.replaceAll("\"", "\"\"")}"`;
  return ["ticket_id,created,message,category,channel",
    ...rows.map(([category, message], i) => [1001 + i, `2026-03-${String(1 + i % 28).padStart(2, "0")}`, cell(message), category, i % 3 ? "mail" : "chat"].join(","))].join("\n") + "\n";
}
