"""Dockerfile to graph to layers."""
