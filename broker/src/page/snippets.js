// The examples under "Do it yourself", with the address and the topic filled in.

export function snippet(kind, values) {
  return SNIPPETS[kind](values);
}

const SNIPPETS = {
  browser: ({ socketUrl, topic }) => `\
const ws = new WebSocket('${socketUrl}', 'fanfare.v1.json');
ws.onopen = () => ws.send(JSON.stringify([
  { id: 1, connect: {} },
  { id: 2, subscribe: { topic: '${topic}' } },
]));
ws.onmessage = ({ data }) => {
  const frame = JSON.parse(data);
  if (frame.topic) console.log(frame.topic, frame.offset, frame.data);
};`,

  raw: ({ socketUrl, topic }) => `\
// Every frame is one bare message: no envelope, no commands.
const url = '${socketUrl.replace(/ws$/, `topics/${encodeURIComponent(topic)}`)}';
const stream = new WebSocket(url);
stream.onmessage = ({ data }) => console.log(JSON.parse(data));
// What you send is published to the topic:
// stream.send(JSON.stringify({ hello: 'world' }));`,

  events: ({ origin, topic }) => `\
// The browser comes back by itself, and gets what it missed.
const events = new EventSource('${origin}/v1/topics/${encodeURIComponent(topic)}');
events.onmessage = ({ data, lastEventId }) => console.log(lastEventId, JSON.parse(data));`,

  shell: ({ origin, topic }) => `\
fanfare sub ${topic}
fanfare pub greetings '{"hello":"world"}'

curl ${origin}/v1/topics/${encodeURIComponent(topic)}
curl --json '{"hello":"world"}' ${origin}/v1/topics/greetings`,

  market: ({ origin }) => `\
curl --json '{"symbols":[{"s":"ACME","p":187.25,"o":185.10}]}' ${origin}/v1/topics/demo.symbols
curl --json '{"s":"ACME","p":187.30,"z":100,"b":187.29,"a":187.31}' ${origin}/v1/topics/ticks.ACME`,
};
