// A caller in Node: reads a fleet, is refused with typed details, and follows a scan to its end. It loads `proto/` as it is.
//   node walk.mjs ADDRESS PROTO KNOWN_PROTOS
// Prints what it saw, as JSON.

import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import fs from 'node:fs';

const require = createRequire(import.meta.url);
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, proto, known] = process.argv.slice(2);
const options = { keepCase: true, enums: String, defaults: true, oneofs: true, includeDirs: [proto, known] };
const files = fs.readdirSync(path.join(proto, 'patchplane/v1')).map((file) => path.join('patchplane/v1', file));
const definition = loader.loadSync([...files, 'google/rpc/status.proto', 'google/rpc/error_details.proto'], options);
const { patchplane } = grpc.loadPackageDefinition(definition);
const config = fs.readFileSync(path.join(proto, 'service_config.json'), 'utf8');
const client = (name) =>
  new patchplane.v1[name](address, grpc.credentials.createInsecure(), { 'grpc.service_config': config });

const call = (service, method, request) =>
  new Promise((resolve, reject) => {
    service[method](request, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

/** The typed details of a refusal, by type. */
function details(error) {
  const decode = (type, bytes) => definition[type].deserialize(bytes);
  const status = decode('google.rpc.Status', error.metadata.get('grpc-status-details-bin')[0]);
  return Object.fromEntries(
    status.details.map(({ type_url, value }) => {
      const type = type_url.split('/').pop();
      return [type, decode(type, value)];
    }),
  );
}

const parent = 'accounts/123456789012/regions/us-east-1';
const instances = client('InstanceService');
const operations = client('PatchOperationService');

const listed = await call(instances, 'ListInstances', { parent });
const refusal = await call(instances, 'ListInstances', { parent: 'accounts/1' }).catch((error) => error);

const scan = { kind: 'KIND_SCAN', targets: { all_managed: true } };
const request = { parent, patch_operation: scan, request_id: randomUUID() };
const created = await call(operations, 'CreatePatchOperation', request);
const name = created.patch_operation.name;
const [events, targets] = [[], {}];
let operation;
for await (const message of operations.WatchPatchOperation({ name })) {
  events.push(message.event);
  const { patch_operation, targets: changed } = message[message.event];
  operation = patch_operation ?? operation;
  for (const target of changed ?? []) targets[target.instance_id] = target.state;
}

const seen = {
  instances: listed.instances.map((instance) => instance.instance_id),
  refusal: { code: refusal.code, details: details(refusal) },
  events,
  targets,
  state: operation.state,
};
console.log(JSON.stringify(seen));
instances.close();
operations.close();
