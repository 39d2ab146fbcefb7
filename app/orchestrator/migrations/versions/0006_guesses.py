"""Former keys of streams, and refused secrets

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-27 08:00:00

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('former_keys',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('stream_key_id', sa.Integer(), nullable=False),
    sa.Column('key_hash', sa.String(length=64), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.ForeignKeyConstraint(['stream_key_id'], ['stream_keys.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('former_keys', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_former_keys_stream_key_id'), ['stream_key_id'], unique=False)

    op.create_table('refusals',
    sa.Column('mark', sa.String(length=64), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('mark')
    )
    with op.batch_alter_table('refusals', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_refusals_at'), ['at'], unique=False)


def downgrade():
    with op.batch_alter_table('refusals', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_refusals_at'))

    op.drop_table('refusals')
    with op.batch_alter_table('former_keys', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_former_keys_stream_key_id'))

    op.drop_table('former_keys')
