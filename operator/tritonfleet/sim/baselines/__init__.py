"""The autoscalers that people run today, each after its upstream source, to be measured against."""
