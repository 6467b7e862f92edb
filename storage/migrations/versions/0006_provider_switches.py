"""Changes of a series from one provider to another."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('provider_switches',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('asset', sqltypes.AutoString(), nullable=False),
    sa.Column('session', sa.Date(), nullable=False),
    sa.Column('before', sqltypes.AutoString(), nullable=False),
    sa.Column('after', sqltypes.AutoString(), nullable=False),
    sa.Column('n_sessions', sa.Integer(), nullable=True),
    sa.Column('gap', sa.Float(), nullable=True),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_provider_switches'))
    )
    with op.batch_alter_table('provider_switches', schema=None) as batch_op:
        batch_op.create_index('ix_provider_switches_asset', ['market', 'asset'], unique=False)
