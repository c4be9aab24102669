"""Values that tests render the chart with, beside the least."""

from __future__ import annotations

from tests.support.helm import least, merged

LONG_NAME = "a-release-whose-name-is-as-long-as-helm-lets-it-be-53"

EVERYTHING = least(
    {
        "database": {"existingSecret": "cogmill-db", "listenUrlKey": "direct"},
        "s3": {"existingSecret": "cogmill-s3"},
        "clusters": {"database": {"existingSecret": "cogmill-clusters-db", "urlKey": "narrow"}},
        "image": {"repository": "registry.example/cogmill", "tag": "1.2.3"},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"annotations": {"example.com/role": "renderer"}},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
        "config": {
            "database_pooling": "transaction",
            "pools": {
                "main": {"workers": 3, "profiles": ["exact"], "batch_size": 4, "warm_shapes": ["720x480x49"]},
                "large": {"model": "cogvideox-5b", "workers": 2, "gpus_per_worker": 2, "attention": "native"},
                "quick": {"model": "cogvideox-5b", "workers": 1, "quantization": "fp8", "compile": "off"},
                "images": {"model": "cogvideox-5b-i2v", "workers": 1},
            },
            "models": {
                "cogvideox-5b": {
                    "family": "cogvideox-5b",
                    "source": "s3://models/CogVideoX-5b",
                    "accept_licence": True,
                    "image_model": "cogvideox-5b-i2v",
                },
                "cogvideox-5b-i2v": {
                    "family": "cogvideox-5b-i2v",
                    "source": "hf://zai-org/CogVideoX-5b-I2V@main",
                    "accept_licence": True,
                },
            },
            "adapters": {"ink": {"source": "s3://models/ink", "models": ["cogvideox-5b"], "scale": -0.5}},
            "engine": {"checkpoint_every_s": 30, "park_mib": 4096},
            "aliases": {"cogvideox-3": "cogvideox-5b"},
            "s3": {"endpoint_url": "https://s3.example", "bucket": "videos", "multipart_threshold_bytes": 33554432},
            "lease": {"ttl_s": 240, "cancel_poll_s": 0.25},
            "log": {"level": "warning"},
        },
        "api": {
            "replicas": 4,
            "ingress": {"enabled": True, "className": "nginx", "host": "video.example", "tlsSecret": "tls"},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["video.example"]},
            "pod": {"nodeSelector": {"disk": "ssd"}, "priorityClassName": "high", "labels": {"team": "video"}},
        },
        "ray": {
            "authSecret": "ray-token",
            "worker": {
                "gpus": 2,
                "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}],
                "runtimeClassName": "nvidia",
                "pod": {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}], "annotations": {"a/b": "c"}},
            },
        },
        "weights": {"volume": {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}},
        "extraVolumes": [
            {"name": "ca", "mountPath": "/etc/ca", "volume": {"configMap": {"name": "our-ca"}}},
            {
                "name": "c2pa",
                "mountPath": "/c2pa/key.pem",
                "subPath": "key",
                "volume": {"secret": {"secretName": "c2pa"}},
            },
        ],
        "networkPolicy": {"from": {"api": [{"namespaceSelector": {}}], "metrics": [{"podSelector": {}}]}},
        "modelsCache": {"mountPath": "/cache", "volume": {"persistentVolumeClaim": {"claimName": "cache"}}},
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    }
)
SCALED = least(
    {
        "config": {
            "limits": {"storage": "redis://redis"},
            "pools": {
                "more": {
                    "model": "cogvideox-2b",
                    "kinds": {
                        "spot": {"max": 9, "resource": "spot", "may_vanish": True},
                        "firm": {"max": 2, "resource": "f.x/y_z:1"},
                    },
                }
            },
        },
        "api": {"autoscaling": {"enabled": True}},
        "monitoring": {"enabled": True},
    }
)
KEDA = merged(
    SCALED, {"api": {"autoscaling": {"by": "keda", "triggers": [{"type": "cpu", "metadata": {"value": "60"}}]}}}
)
PLAIN_JOB = least(
    {
        "migration": {"hook": False},
        "serviceAccount": {"create": False, "name": "video"},
        "clusters": {"pod": {"serviceAccount": {"name": "keeper"}}, "roll": {"strategy": "in_place"}},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
    }
)
# What is outside of the chart: who keeps its Secrets, whom it calls, where models are kept, whose certificates count.
OUTSIDE = merged(
    SCALED,
    {
        "database": {"listenUrlKey": "direct"},
        "s3": {"existingSecret": "cogmill-s3"},
        "secretsAsFiles": True,
        "externalSecrets": {
            "enabled": True,
            "secretStoreRef": {"name": "vault"},
            "remote": {
                "databaseUrl": {"key": "prod/db", "property": "url"},
                "listenUrl": {"key": "prod/db", "property": "direct"},
                "masterKey": {"key": "prod/master", "version": "1"},
            },
        },
        "caBundle": {"configMap": "our-ca", "key": "bundle.pem"},
        "config": {"models": {"cogvideox-2b": {"family": "cogvideox-2b", "source": "hf://org/name"}}},
        "modelsCache": {"claim": {"create": True, "storageClassName": "nfs"}, "prefetch": {"enabled": True}},
        "networkPolicy": {
            "egress": {
                "enabled": True,
                "postgres": {"to": [{"ipBlock": {"cidr": "10.1.0.5/32"}}]},
                "redis": {"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]},
                "kubernetesApi": {"to": [{"ipBlock": {"cidr": "10.2.0.0/24"}}]},
                "more": {"api": [{"ports": [{"port": 25}]}]},
            }
        },
        "ray": {
            "gcsFaultTolerance": {
                "backend": "redis",
                "redis": {"address": "redis:6379", "existingSecret": "redis", "usernameKey": "user"},
            }
        },
    },
)
