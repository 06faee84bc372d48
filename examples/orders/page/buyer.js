// Orders, and tells the buyer what becomes of the payment, without asking again.

const WORDS = {
  queued: "Your payment is waiting its turn.",
  running: "The bank is being asked.",
  succeeded: "Payment confirmed. Thank you!",
  discarded: "Your card was declined.",
  dead: "We could not take the payment. Nothing was charged.",
  cancelled: "The order was cancelled.",
};

function say(text) {
  const line = document.createElement("li");
  line.textContent = text;
  document.querySelector("#story").append(line);
}

function tell(job) {
  if (job.state in WORDS) say(WORDS[job.state]);
  return job.ended;
}

function follow(address) {
  const source = new EventSource(address + "/events");
  source.onmessage = (event) => {
    if (tell(JSON.parse(event.data))) source.close();
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => ask(address), 2000);
  };
}

// Where streams are refused: now and then.
async function ask(address) {
  const answer = await fetch(address);
  if (answer.status === 410) return;
  if (answer.ok && (await answer.json().then((job) => job.ended && tell(job)))) return;
  setTimeout(() => ask(address), 2000);
}

document.querySelector("#order").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const order = { email: form.get("email"), card: form.get("card"), cents: 1250 };
  const answer = await fetch("orders", { method: "POST", body: JSON.stringify(order) });
  if (!answer.ok) return say("The order did not come through. Please try again.");
  const placed = await answer.json();
  say(`Order ${placed.order} is placed.`);
  follow(placed.status);
});
