// Open-loop load on one model: requests leave at the rates asked for, however long the answers take.
// Every request that is not answered well, and every one that could not leave in time, is a failure.
import http from 'k6/http';
import grpc from 'k6/net/grpc';
import { Counter, Trend } from 'k6/metrics';

const plan = JSON.parse(open(__ENV.PLAN));
const row = Array.from({ length: plan.features }, () => 1.0);
const answered = new Trend('answered_ms');
const failed = new Counter('failed');

const functions = { http: 'overHttp', grpc: 'overGrpc' };
const scenario = (protocol) => ({
  executor: 'ramping-arrival-rate', exec: functions[protocol], timeUnit: '10s', gracefulStop: '30s',
  startRate: plan.stages[0].target, stages: plan.stages, preAllocatedVUs: plan.clients, maxVUs: plan.mostClients,
});
export const options = {
  scenarios: Object.fromEntries(Object.keys(plan.targets).map((protocol) => [protocol, scenario(protocol)])),
  systemTags: ['scenario'],
};

const client = new grpc.Client();
if (plan.targets.grpc) client.loadProtoset(plan.protoset);
let connected = false;

function count(ok, started, protocol, detail) {
  if (ok) {
    answered.add(Date.now() - started);
  } else {
    failed.add(1);
    console.error(`${protocol}: ${detail}`);
  }
}

export function overHttp() {
  const started = Date.now();
  const body = JSON.stringify({ inputs: [{ name: 'X', shape: [1, row.length], datatype: 'FP32', data: row }] });
  const answer = http.post(`http://${plan.targets.http}/v2/models/${plan.model}/infer`, body);
  count(answer.status === 200, started, 'http', `${answer.status} ${answer.error} ${answer.body}`);
}

export function overGrpc() {
  const started = Date.now();
  if (!connected) {
    client.connect(plan.targets.grpc, { plaintext: true });
    connected = true;
  }
  const answer = client.invoke('inference.GRPCInferenceService/ModelInfer', {
    model_name: plan.model,
    inputs: [{ name: 'X', datatype: 'FP32', shape: [1, row.length], contents: { fp32_contents: row } }],
  });
  count(answer && answer.status === grpc.StatusOK, started, 'grpc', JSON.stringify(answer && (answer.error || answer.status)));
}
