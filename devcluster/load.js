// Open-loop load on one model: requests leave at the rates asked for, however long the answers take.
// Every request that is not answered well, and every one that could not leave in time, is a failure.
import http from 'k6/http';
import encoding from 'k6/encoding';
import grpc from 'k6/net/grpc';
import { Counter, Trend } from 'k6/metrics';

const plan = JSON.parse(open(__ENV.PLAN));
const row = Array.from({ length: plan.features }, () => 1.0);
const answered = new Trend('answered_ms');
const failed = new Counter('failed');
const wrong = new Counter('wrong');
const REVISION = 'x-tritonfleet-revision';
const PATH = 'inference.GRPCInferenceService/ModelInfer';

const functions = { http: 'overHttp', grpc: 'overGrpc' };
const scenario = (protocol) => ({
  executor: 'ramping-arrival-rate', exec: functions[protocol], timeUnit: '10s', gracefulStop: '30s',
  startRate: plan.stages[0].target, stages: plan.stages, preAllocatedVUs: plan.clients, maxVUs: plan.mostClients,
  tags: { scenario: protocol },
});
export const options = {
  scenarios: Object.fromEntries(Object.keys(plan.targets).map((protocol) => [protocol, scenario(protocol)])),
  systemTags: ['scenario'],
};

const client = new grpc.Client();
if (plan.targets.grpc) client.loadProtoset(plan.protoset);
let connected = false;

function count(ok, started, revision, value, detail) {
  if (!ok) {
    failed.add(1);
    console.error(`${new Date().toISOString()} ${detail()}`);
    return;
  }
  answered.add(Date.now() - started, { revision: revision || '' });
  if (plan.expected !== null && value() !== plan.expected) wrong.add(1);
}

export function overHttp() {
  const started = Date.now();
  const body = JSON.stringify({ inputs: [{ name: 'X', shape: [1, row.length], datatype: 'FP32', data: row }] });
  const headers = plan.host ? { Host: plan.host } : {};
  const answer = http.post(`http://${plan.targets.http}/v2/models/${plan.model}/infer`, body, { headers });
  count(answer.status === 200, started, answer.headers['X-Tritonfleet-Revision'],
    () => answer.json('outputs.0.data.0'), () => `http: ${answer.status} ${answer.error} ${answer.body}`);
}

export function overGrpc() {
  const started = Date.now();
  if (!connected) {
    client.connect(plan.targets.grpc, { plaintext: true, ...(plan.host ? { authority: plan.host } : {}) });
    connected = true;
  }
  const answer = client.invoke(PATH, {
    model_name: plan.model,
    inputs: [{ name: 'X', datatype: 'FP32', shape: [1, row.length], contents: { fp32_contents: row } }],
  });
  const named = answer && answer.headers && answer.headers[REVISION];
  count(answer && answer.status === grpc.StatusOK, started, named && named[0],
    () => new Float32Array(encoding.b64decode(answer.message.rawOutputContents[0]))[0],
    () => `grpc: ${JSON.stringify(answer && (answer.error || answer.status))}`);
}
