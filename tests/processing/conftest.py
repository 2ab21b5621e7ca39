"""A head whose every point is known: sampled analytically on any grid, no resampling involved."""

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest

HEAD_CENTRE_MM = np.array([3.0, -12.0, 20.0])
HEAD_RADII_MM = np.array([72.0, 92.0, 88.0])
LEFT_BALL_MM = np.array([-32.0, 10.0, 35.0])


def inside_ellipsoid(points: np.ndarray, centre: np.ndarray, radii: np.ndarray, softness: float = 0.03) -> np.ndarray:
    """1 inside, 0 outside, smooth in between; points (..., 3) in scanner mm."""
    r = np.linalg.norm((points - centre) / radii, axis=-1)
    return 1.0 / (1.0 + np.exp(np.clip((r - 1.0) / softness, -50, 50)))


def head_values(points: np.ndarray, *, neck: bool = False) -> np.ndarray:
    """Scalp, skull, brain, a dark ventricle and one bright ball in the LEFT hemisphere; points (..., 3) in mm."""
    scalp = inside_ellipsoid(points, HEAD_CENTRE_MM, HEAD_RADII_MM, 0.01)
    skull = inside_ellipsoid(points, HEAD_CENTRE_MM, HEAD_RADII_MM * 0.93)
    brain = inside_ellipsoid(points, HEAD_CENTRE_MM, HEAD_RADII_MM * 0.85)
    values = 700.0 * scalp - 620.0 * skull + 420.0 * brain
    values -= 350.0 * inside_ellipsoid(
        points, HEAD_CENTRE_MM + np.array([0.0, 0.0, 10.0]), np.array([14.0, 30.0, 12.0]), 0.1
    )
    values += 400.0 * inside_ellipsoid(points, LEFT_BALL_MM, np.array([14.0, 14.0, 14.0]), 0.1)
    if neck:
        axis = np.linalg.norm((points[..., :2] - HEAD_CENTRE_MM[:2] + np.array([0.0, 25.0])) / 55.0, axis=-1)
        below = points[..., 2] < HEAD_CENTRE_MM[2]
        values = np.maximum(values, np.where(below, 500.0 / (1 + np.exp(np.clip((axis - 1) / 0.03, -50, 50))), 0.0))
    return values


def grid_points(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Scanner position in mm of every voxel (X, Y, Z, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def tilted_grid(
    spacing_mm: tuple[float, float, float],
    angles_deg: tuple[float, float],
    field_mm: float,
    centre_mm: np.ndarray = HEAD_CENTRE_MM,
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a cubic field of view, tilted about the x and then the z axis."""
    a, b = np.deg2rad(angles_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    shape = (round(field_mm / spacing_mm[0]), round(field_mm / spacing_mm[1]), round(field_mm / spacing_mm[2]))
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing_mm)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return shape, affine


@pytest.fixture(scope="session")
def make_head() -> Callable[..., nib.Nifti1Image]:
    """Factory of phantom heads: `make_head(spacing_mm, angles_deg, neck=..., scale=..., field_mm=...)`."""

    def make(
        spacing_mm: tuple[float, float, float] = (2.0, 2.0, 4.0),
        angles_deg: tuple[float, float] = (0.0, 0.0),
        *,
        neck: bool = False,
        scale: float = 1.0,
        field_mm: float = 220.0,
    ) -> nib.Nifti1Image:
        shape, affine = tilted_grid(spacing_mm, angles_deg, field_mm)
        values = scale * head_values(grid_points(shape, affine), neck=neck)
        return nib.Nifti1Image(values.astype(np.float32), affine)

    return make


@pytest.fixture(scope="session")
def make_ball() -> Callable[..., nib.Nifti1Image]:
    """Factory of ellipsoid masks around the bright ball, on a grid of 60 mm that just holds them."""

    def make(
        spacing_mm: tuple[float, float, float],
        angles_deg: tuple[float, float] = (0.0, 0.0),
        radii_mm: tuple[float, float, float] = (18.0, 14.0, 16.0),
    ) -> nib.Nifti1Image:
        shape, affine = tilted_grid(spacing_mm, angles_deg, 60.0, LEFT_BALL_MM + 0.21)
        distance = np.linalg.norm((grid_points(shape, affine) - LEFT_BALL_MM) / np.array(radii_mm), axis=-1)
        return nib.Nifti1Image((distance <= 1.0).astype(np.uint8), affine)

    return make
