"""What was asked of language models, and what it cost."""

import sqlalchemy as sa
from alembic import op
from sqlmodel.sql import sqltypes

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('model_usage',
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('market', sqltypes.AutoString(), nullable=False),
    sa.Column('job', sa.Integer(), nullable=False),
    sa.Column('at', sqltypes.UTCDateTime(), nullable=False),
    sa.Column('model', sqltypes.AutoString(), nullable=False),
    sa.Column('kind', sqltypes.AutoString(), nullable=False),
    sa.Column('input_tokens', sa.BigInteger(), nullable=False),
    sa.Column('output_tokens', sa.BigInteger(), nullable=False),
    sa.Column('cost', sa.Float(), nullable=False),
    sa.Column('seconds', sa.Float(), nullable=False),
    sa.Column('outcome', sqltypes.AutoString(), nullable=True),
    sa.Column('settled_at', sqltypes.UTCDateTime(), nullable=True),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_model_usage'))
    )
    with op.batch_alter_table('model_usage', schema=None) as batch_op:
        batch_op.create_index('ix_model_usage_at', ['at'], unique=False)
        batch_op.create_index('ix_model_usage_run', ['market', 'job'], unique=False)
