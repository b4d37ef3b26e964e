// Open-loop load on one model over HTTP and gRPC at once; every request that is not answered well counts as failed.
import http from 'k6/http';
import grpc from 'k6/net/grpc';
import { Counter } from 'k6/metrics';

const host = __ENV.TARGET_HOST;
const model = __ENV.MODEL;
const duration = __ENV.DURATION;
const rate = Number(__ENV.RATE);
const row = Array.from({ length: Number(__ENV.FEATURES) }, () => 1.0);

const failed = new Counter('requests_failed');
const answered = new Counter('requests_answered');

const arrivals = { executor: 'constant-arrival-rate', rate: rate, timeUnit: '1s', duration: duration, preAllocatedVUs: 20, maxVUs: 200 };
export const options = {
  scenarios: { http: { ...arrivals, exec: 'overHttp' }, grpc: { ...arrivals, exec: 'overGrpc' } },
  summaryTrendStats: ['p(50)', 'p(99)', 'max'],
};

const client = new grpc.Client();
client.loadProtoset(__ENV.PROTOSET);
let connected = false;

function count(ok, protocol, detail) {
  (ok ? answered : failed).add(1, { protocol: protocol });
  if (!ok) console.error(`${protocol}: ${detail}`);
}

export function overHttp() {
  const body = JSON.stringify({ inputs: [{ name: 'X', shape: [1, row.length], datatype: 'FP32', data: row }] });
  const answer = http.post(`http://${host}:8000/v2/models/${model}/infer`, body);
  count(answer.status === 200, 'http', `${answer.status} ${answer.error} ${answer.body}`);
}

export function overGrpc() {
  if (!connected) {
    client.connect(`${host}:8001`, { plaintext: true });
    connected = true;
  }
  const answer = client.invoke('inference.GRPCInferenceService/ModelInfer', {
    model_name: model,
    inputs: [{ name: 'X', datatype: 'FP32', shape: [1, row.length], contents: { fp32_contents: row } }],
  });
  count(answer && answer.status === grpc.StatusOK, 'grpc', JSON.stringify(answer && (answer.error || answer.status)));
}

export function handleSummary(data) {
  return { [__ENV.SUMMARY]: JSON.stringify(data.metrics) };
}
